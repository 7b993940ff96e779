"""What holds of the scheduler in whatever order things happen, the web process killed at any moment too."""

import shutil
import sqlite3
import tempfile
from collections import Counter
from pathlib import Path
from typing import Literal

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from qlora_ui import owner
from qlora_ui.attempts import MICRO_BATCH
from qlora_ui.config import TrainConfig, Trainer
from qlora_ui.jobs import ACTIVE, ENDED, Job, JobState
from qlora_ui.launchers.base import Life, Poll
from tests.fake_launcher import Home

PICK = st.integers(0, 9)
CODES = st.sampled_from([0, 1, 130, owner.EXIT_OUT_OF_MEMORY, owner.EXIT_OUT_OF_MEMORY, -9, -15, None])


class Killed(BaseException):
    """The web process dies here."""


class Queue(RuleBasedStateMachine):
    @initialize(devices=st.sampled_from([[""], ["0"], ["0", "1"]]))
    def open(self, devices: list[str]) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.home = Home(self.folder, devices)
        self.ends: dict[str, Job] = {}
        self.allowed: Counter[str] = Counter()  # starts, by job

    def teardown(self) -> None:
        if hasattr(self, "home"):
            self.home.store.close()
            shutil.rmtree(self.folder)

    def picked(self, pick: int) -> str:
        jobs = self.home.store.all()
        return jobs[pick % len(jobs)].id if jobs else "nobody"

    def living(self) -> list[str]:
        return [handle for handle, poll in self.home.launcher.workers.items() if poll.life is Life.RUNNING]

    @rule(micro_batch=st.sampled_from([1, 2, 5]))
    def submit(self, micro_batch: int) -> None:
        config = TrainConfig(trainer=Trainer(per_device_train_batch_size=micro_batch))
        job = self.home.scheduler.submit(config)
        self.allowed[job.id] = micro_batch.bit_length()

    @rule(pick=PICK)
    def stop(self, pick: int) -> None:
        self.home.scheduler.stop(self.picked(pick))

    @rule(pick=PICK)
    def pause(self, pick: int) -> None:
        if self.home.scheduler.pause(self.picked(pick)):
            self.allowed[self.picked(pick)] += 1

    @rule(pick=PICK)
    def resume(self, pick: int) -> None:
        job_id = self.picked(pick)
        before = self.home.store.get(job_id)
        resumed = self.home.scheduler.resume(job_id)
        assert resumed == (
            before is not None and (before.held or before.state in (JobState.STOPPED, JobState.FAILED))
        )
        if resumed:
            self.ends.pop(job_id, None)
            self.allowed[job_id] += 1

    @rule(pick=PICK, way=st.sampled_from(["up", "down"]))
    def move(self, pick: int, way: Literal["up", "down"]) -> None:
        before = [job.id for job in self.home.store.queue()]
        moved = self.home.scheduler.move(job_id := self.picked(pick), way)
        after = [job.id for job in self.home.store.queue()]
        if moved:
            step = -1 if way == "up" else 1
            assert after.index(job_id) == before.index(job_id) + step
        assert sorted(before) == sorted(after) and moved == (before != after)

    @rule(on=st.booleans())
    def pause_queue(self, on: bool) -> None:
        self.home.scheduler.pause_queue(on)

    @rule(pick=PICK, code=CODES)
    def worker_ends(self, pick: int, code: int | None) -> None:
        if living := self.living():
            self.home.launcher.workers[living[pick % len(living)]] = Poll(Life.ENDED, code)

    @rule(pick=PICK)
    def node_is_lost(self, pick: int) -> None:
        if living := self.living():
            handle = living[pick % len(living)]
            self.home.launcher.workers[handle] = Poll(Life.LOST)
            self.allowed[handle.partition("/")[0]] += 1

    @rule()
    def tick(self) -> None:
        self.home.scheduler.tick()
        active = self.home.store.all(ACTIVE)
        assert {job.handle for job in active} == set(self.living()), "a state is not true, or a worker lost"
        if not self.home.scheduler.paused and len(active) < len(self.home.devices):
            assert all(job.held for job in self.home.store.queue()), "a device idle while jobs wait"

    @rule(before=st.booleans())
    def killed_in_a_launch(self, before: bool) -> None:
        name = "broken" if before else "killed"
        setattr(self.home.launcher, name, Killed())
        try:
            self.home.scheduler.tick()
        except Killed:
            self.home.restart()
        setattr(self.home.launcher, name, None)

    @rule(writes=st.integers(0, 3), fails=st.booleans())
    def killed_or_refused_at_a_write(self, writes: int, fails: bool) -> None:
        store = self.home.store
        move = store.move
        left = iter(range(writes))

        def dies(*args: object, **fields: object) -> bool:
            if next(left, None) is None:
                raise sqlite3.OperationalError("database is locked") if fails else Killed
            return move(*args, **fields)  # type: ignore[arg-type]

        store.move = dies  # type: ignore[method-assign]
        try:
            self.home.scheduler.tick()
        except Killed:
            self.home.restart()
        except sqlite3.OperationalError:
            pass
        store.move = move  # type: ignore[method-assign]

    @rule()
    def restart(self) -> None:
        self.home.restart()

    @rule()
    def copy(self) -> None:
        with sqlite3.connect(self.folder / "copy.db") as copy:
            self.home.store._db.backup(copy)
        copy.close()

    @precondition(lambda self: hasattr(self, "folder") and (self.folder / "copy.db").exists())
    @rule()
    def put_back(self) -> None:
        """The database as it was a while ago: the folders know better."""
        self.home.store.close()
        shutil.copy(self.folder / "copy.db", self.folder / "jobs.db")
        self.home.open()
        self.ends = {}
        self.tick()  # the scheduler's first act, before the page is up

    @invariant()
    def one_job_a_device(self) -> None:
        if hasattr(self, "home"):
            used = Counter(job.device for job in self.home.store.all(ACTIVE))
            assert set(used) <= set(self.home.devices) and all(count == 1 for count in used.values())

    @invariant()
    def one_start_an_attempt_and_one_worker_a_job(self) -> None:
        if hasattr(self, "home"):
            assert max(Counter(self.home.launcher.starts).values(), default=1) == 1
            jobs = [handle.partition("/")[0] for handle in self.living()]
            assert len(jobs) == len(set(jobs)) <= len(self.home.devices)

    @invariant()
    def no_start_that_nobody_asked_for(self) -> None:
        """The micro-batch only halves down to 1: then an out of memory is the end."""
        if hasattr(self, "home"):
            starts = Counter(handle.partition("/")[0] for handle in self.home.launcher.starts)
            assert not starts - self.allowed
            for job in self.home.store.all():
                assert job.overrides.get(MICRO_BATCH, 1) >= 1

    @invariant()
    def a_paused_job_does_not_run(self) -> None:
        if hasattr(self, "home"):
            assert not [job for job in self.home.store.all(ACTIVE) if job.held]

    @invariant()
    def an_end_is_final(self) -> None:
        if hasattr(self, "home"):
            now = {job.id: job for job in self.home.store.all(ENDED)}
            assert {job_id: now.get(job_id) for job_id in self.ends} == self.ends
            self.ends = now


Queue.TestCase.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
TestQueue = Queue.TestCase
