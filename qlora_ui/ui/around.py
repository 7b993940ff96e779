"""What a job's page shows beside the job's row and its events: its place in the queue, what lies on its disk,
whether it gives a sign of life, the jobs before and after it, what would help it after an out of memory."""

import time
from dataclasses import dataclass
from pathlib import Path

from qlora_ui import checkpoints
from qlora_ui.jobs import ACTIVE, ENDED, Job, JobState
from qlora_ui.plans import Change
from qlora_ui.scheduler import Scheduler
from qlora_ui.ui import memory_plan
from qlora_ui.ui.follow import Followed

SILENT = 600.0  # seconds without an event after which a running job is said to give no sign of life


@dataclass(frozen=True, slots=True)
class Around:
    """`place` in the queue, from 1 (0: not in it); `starts`: seconds since the epoch, None if nobody can say;
    `silent`: whole minutes without a sign of life, 0 while there are signs."""

    waits_for_token: bool = False
    queue_paused: bool = False
    place: int = 0
    before: tuple[Job, ...] = ()
    starts: float | None = None
    saved: checkpoints.Checkpoint | None = None
    silent: int = 0
    parent: Job | None = None
    children: tuple[Job, ...] = ()
    changes: tuple[Change, ...] = ()


def look(
    job: Job, scheduler: Scheduler, starts: float | None, children: tuple[Job, ...], followed: Followed
) -> Around:
    """As it is now; reads a few small files."""
    store = scheduler.store
    folder = store.folder(job.id)
    ahead = in_line(job, scheduler)
    queued = job.state is JobState.QUEUED
    return Around(
        waits_for_token=scheduler.waits_for_token(job),
        queue_paused=queued and scheduler.paused,
        place=len(ahead) + 1 if queued and not job.held else 0,
        before=(*store.all(ACTIVE), *ahead) if queued and not job.held else (),
        starts=starts,
        saved=_saved(job, folder, followed),
        silent=_silent(job, scheduler),
        parent=store.get(job.config.parent) if job.config.parent else None,
        children=children,
        changes=tuple(memory_plan.suggested(job, folder)),
    )


def _saved(job: Job, folder: Path, followed: Followed) -> checkpoints.Checkpoint | None:
    """The newest that it can go on from; while it works, of the course that it is on."""
    found = checkpoints.fitting(folder, job.config, job.overrides)
    if job.state in ACTIVE and followed.attempt == job.attempt:
        found = [one for one in found if one.attempt == job.attempt or one.step <= followed.from_step]
    return next(iter(found), None)


def in_line(job: Job, scheduler: Scheduler) -> list[Job]:
    """The queued jobs that start before this one."""
    if job.state is not JobState.QUEUED:
        return []
    line = [other for other in scheduler.store.queue() if not other.held or other.id == job.id]
    ids = [other.id for other in line]
    return line[: ids.index(job.id)] if job.id in ids else line


def descendants(job: Job, scheduler: Scheduler) -> tuple[Job, ...]:
    """The jobs that go on from this one's adapter, oldest first."""
    if job.state not in ENDED:
        return ()
    return tuple(other for other in scheduler.store.all() if other.config.parent == job.id)


def _silent(job: Job, scheduler: Scheduler) -> int:
    if job.state not in (JobState.RUNNING, JobState.STOPPING):
        return 0
    try:
        heard = (scheduler.store.folder(job.id) / "events.jsonl").stat().st_mtime
    except FileNotFoundError:
        heard = job.started or job.created
    quiet = time.time() - heard
    return int(quiet // 60) if quiet >= SILENT else 0
