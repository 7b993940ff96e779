"""What each job takes on the disk, measured off the event loop and kept: a list of 1,000 jobs is asked for
every few seconds, and their folders are read once."""

import asyncio
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from qlora_ui import checkpoints
from qlora_ui.jobs import ENDED, Job, JobStore

AGAIN = 20.0  # seconds after which the folder of a job that works is measured again


@dataclass(frozen=True, slots=True)
class Taken:
    """Bytes of a job's folder, and of the checkpoints in it."""

    whole: int
    checkpoints: int
    adapter: bool


class Sizes:
    """Answers at once with what is known, and measures the rest meanwhile."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._known: dict[str, tuple[object, float, Taken]] = {}  # of each job: row, when, what
        self._measuring: asyncio.Task[None] | None = None

    def of(self, job: Job) -> Taken | None:
        known = self._known.get(job.id)
        return known[2] if known else None

    def total(self) -> int:
        return sum(taken.whole for _, _, taken in list(self._known.values()))

    def forget(self, job_id: str) -> None:
        """Something was deleted: measure again."""
        self._known.pop(job_id, None)

    async def measure(self, jobs: Iterable[Job], wait: float) -> None:
        """Measure those that are new or have changed; come back after `wait` seconds at the latest."""
        jobs = list(jobs)
        if self._measuring is None or self._measuring.done():
            due = [job for job in jobs if self._due(job)]
            for gone in self._known.keys() - {job.id for job in jobs}:
                del self._known[gone]
            if due:
                self._measuring = asyncio.create_task(asyncio.to_thread(self._measure, due))
        if self._measuring is not None:
            await asyncio.wait([self._measuring], timeout=wait)

    def _due(self, job: Job) -> bool:
        known = self._known.get(job.id)
        if known is None or known[0] != _row(job):
            return True
        return job.state not in ENDED and time.monotonic() - known[1] > AGAIN

    def _measure(self, jobs: list[Job]) -> None:
        for job in jobs:
            folder = self._store.folder(job.id)
            taken = Taken(_bytes(folder), _bytes(folder / checkpoints.FOLDER), has_adapter(folder))
            self._known[job.id] = (_row(job), time.monotonic(), taken)


def has_adapter(folder: Path) -> bool:
    """Whether there is something to download."""
    return (folder / "adapter" / "adapter_model.safetensors").is_file()


def _row(job: Job) -> object:
    return (job.state, job.attempt, job.ended)


def _bytes(folder: Path) -> int:
    total = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    total += _bytes(Path(entry.path))
                else:
                    total += entry.stat(follow_symlinks=False).st_size
    except OSError:  # files come and go while a worker saves
        pass
    return total
