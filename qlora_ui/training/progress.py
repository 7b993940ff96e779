"""How a download tells how far it is, and whether the disk can take it."""

import shutil
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from qlora_ui.errors import UserError
from qlora_ui.texts.quantities import size

Report = Callable[[str, int, int, str, float], None]  # phase, done, total, unit, rate: as in `events.Phase`
Stop = Callable[[], bool]

INTERVAL = 0.5  # seconds between two reports: a person reads no faster, and each is a line in a file
WINDOW = 20  # reports the rate is measured over


class Transfer:
    """One download as the page sees it, in bytes. `done` may start above 0: what was there before."""

    def __init__(self, report: Report, total: int, phase: str = "downloading") -> None:
        self._report, self._total, self._phase = report, total, phase
        self._points: deque[tuple[float, int]] = deque(maxlen=WINDOW)

    def at(self, done: int) -> None:
        """`done` bytes are there. Cheap to call for every chunk."""
        now = time.monotonic()
        if self._points:
            last, there = self._points[-1]
            if done < self._total and now - last < INTERVAL or done == there == self._total:
                return
        self._points.append((now, done))
        since, before = self._points[0]
        rate = (done - before) / (now - since) if now > since else 0.0
        self._report(self._phase, done, self._total, "bytes", max(rate, 0.0))


def check_space(folder: Path, needed: int) -> None:
    """Raises UserError disk_space if the disk of `folder` has fewer than `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError("disk_space", folder=str(folder), free=size(free), needed=size(needed))
