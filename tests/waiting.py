"""Waiting for a state instead of sleeping for a time."""

import time
from collections.abc import Callable


def until(state: Callable[[], object], what: str = "", seconds: float = 30, every: float = 0.01) -> None:
    """Return as soon as `state()` is true. Raises AssertionError when it is not in time."""
    deadline = time.monotonic() + seconds
    while not state():
        assert time.monotonic() < deadline, what or "the awaited state did not come"
        time.sleep(every)
