"""A launcher whose workers live and end as the test says, and a home folder around it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from qlora_ui.config import TrainConfig
from qlora_ui.events import Event, EventWriter
from qlora_ui.jobs import Job, JobStore
from qlora_ui.launchers.base import Life, Poll
from qlora_ui.scheduler import Scheduler

DEFAULT = TrainConfig()


class FakeLauncher:
    """Keeps workers in a dictionary: it outlives the scheduler, as real workers do."""

    def __init__(self) -> None:
        self.workers: dict[str, Poll] = {}
        self.env: dict[str, Mapping[str, str]] = {}
        self.starts: list[str] = []
        self.stopped: list[tuple[str, bool]] = []
        self.broken: BaseException | None = None  # raised instead of a start
        self.killed: BaseException | None = None  # raised after it

    def submit(self, folder: Path, attempt: int, env: Mapping[str, str]) -> str:
        if self.broken:
            raise self.broken
        handle = f"{folder.name}/{attempt}"
        if handle not in self.workers:
            self.starts.append(handle)
            self.workers[handle] = Poll(Life.RUNNING)
            self.env[handle] = env
            (folder / "owner").write_text(
                json.dumps({"attempt": attempt, "pid": 1, "ticks": 0, "boot": "none"})
            )
        if self.killed:
            raise self.killed
        return handle

    def reattach(self, folder: Path, attempt: int) -> str | None:
        handle = f"{folder.name}/{attempt}"
        return handle if handle in self.workers else None

    def poll(self, handles: Sequence[str]) -> dict[str, Poll]:
        return {handle: self.workers[handle] for handle in handles}

    def stop(self, handle: str, force: bool = False) -> None:
        self.stopped.append((handle, force))

    def end(self, job: Job, code: int | None) -> None:
        self.workers[f"{job.id}/{job.attempt or 1}"] = Poll(Life.ENDED, code)


class Home:
    """A home folder with a store, a scheduler, and the launcher under it."""

    def __init__(self, path: Path, devices: list[str]) -> None:
        self.path = path
        self.devices = devices
        self.launcher = FakeLauncher()
        self.open()

    def open(self) -> None:
        self.store = JobStore(self.path)
        self.scheduler = Scheduler(self.store, self.launcher, lambda: self.devices)

    def restart(self) -> None:
        """Another web process over the same home."""
        self.store.close()
        self.open()

    def job(self, job: Job) -> Job:
        found = self.store.get(job.id)
        assert found is not None
        return found

    def states(self, *jobs: Job) -> list[str]:
        return [self.job(job).state.value for job in jobs]

    def run(self, token: str = "", config: TrainConfig = DEFAULT) -> Job:
        job = self.scheduler.submit(config, token)
        self.scheduler.tick()
        return self.job(job)

    def end(self, job: Job, code: int | None) -> Job:
        """Its worker ends, and the scheduler sees it."""
        self.launcher.end(self.job(job), code)
        self.scheduler.tick()
        return self.job(job)

    def write(self, job: Job, *events: Event) -> None:
        writer = EventWriter(self.store.folder(job.id) / "events.jsonl")
        for event in events:
            writer.append(event)
        writer.close()
