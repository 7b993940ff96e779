"""What a launcher must do: start the worker of a job somewhere, and say what became of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol


class Life(StrEnum):
    QUEUED = "queued"  # the launcher's own engine lets it wait
    RUNNING = "running"
    ENDED = "ended"
    LOST = "lost"  # the node is gone: start the next attempt
    UNREACHABLE = "unreachable"  # nobody answered: nothing changes


@dataclass(frozen=True, slots=True)
class Poll:
    """What became of a worker. `code` of an ended one: exit code, or minus the signal that killed it;
    None where nobody saw it end."""

    life: Life
    code: int | None = None


class Launcher(Protocol):
    """A handle is a string that outlives the web process; it names one attempt of one job."""

    def submit(self, folder: Path, attempt: int, env: Mapping[str, str]) -> str:
        """Start `python -m qlora_ui.training FOLDER --attempt N`. Idempotent for the pair."""
        ...

    def reattach(self, folder: Path, attempt: int) -> str | None:
        """The handle of an attempt that was submitted, or None if no worker ever began it."""
        ...

    def poll(self, handles: Sequence[str]) -> dict[str, Poll]:
        """One call for all."""
        ...

    def stop(self, handle: str, force: bool = False) -> None:
        """Ask the worker to save and end (SIGTERM); with `force` kill it and all it started."""
        ...
