"""What holds of the scheduler in whatever order things happen, the web process killed at any moment too."""

import shutil
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from qlora_ui.config import TrainConfig
from qlora_ui.jobs import ACTIVE, ENDED, Job, JobState
from qlora_ui.launchers.base import Life
from tests.fake_launcher import Home


class Killed(BaseException):
    """The web process dies here."""


class Queue(RuleBasedStateMachine):
    @initialize(devices=st.sampled_from([[""], ["0"], ["0", "1"]]))
    def open(self, devices: list[str]) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.home = Home(self.folder, devices)
        self.ends: dict[str, Job] = {}

    def teardown(self) -> None:
        self.home.store.close()
        shutil.rmtree(self.folder)

    @rule()
    def submit(self) -> None:
        self.home.scheduler.submit(TrainConfig())

    @rule(pick=st.integers(0, 9))
    def stop(self, pick: int) -> None:
        if jobs := self.home.store.all():
            self.home.scheduler.stop(jobs[pick % len(jobs)].id)

    @rule(pick=st.integers(0, 9), code=st.sampled_from([0, 1, 130, -9, -15, None]))
    def worker_ends(self, pick: int, code: int | None) -> None:
        living = [handle for handle, poll in self.home.launcher.workers.items() if poll.life is Life.RUNNING]
        if living:
            job = self.home.store.get(living[pick % len(living)].partition("/")[0])
            assert job is not None
            self.home.launcher.end(job, code)

    @rule()
    def tick(self) -> None:
        self.home.scheduler.tick()
        living = {handle for handle, poll in self.home.launcher.workers.items() if poll.life is Life.RUNNING}
        active = self.home.store.all(ACTIVE)
        assert {job.handle for job in active} == living, "a state that is not true, or a worker lost"
        free = len(self.home.devices) - len(active)
        assert not free or not self.home.store.all([JobState.QUEUED]), "a device idle while jobs wait"

    @rule(before=st.booleans())
    def killed_in_a_launch(self, before: bool) -> None:
        name = "broken" if before else "killed"
        setattr(self.home.launcher, name, Killed())
        try:
            self.home.scheduler.tick()
        except Killed:
            self.home.restart()
        setattr(self.home.launcher, name, None)

    @rule(writes=st.integers(0, 3))
    def killed_at_a_write(self, writes: int) -> None:
        move = self.home.store.move
        left = iter(range(writes))

        def dies(*args: object, **fields: object) -> bool:
            if next(left, None) is None:
                raise Killed
            return move(*args, **fields)  # type: ignore[arg-type]

        self.home.store.move = dies  # type: ignore[method-assign]
        try:
            self.home.scheduler.tick()
        except Killed:
            self.home.restart()
        else:
            self.home.store.move = move  # type: ignore[method-assign]

    @rule()
    def restart(self) -> None:
        self.home.restart()

    @invariant()
    def one_job_a_device(self) -> None:
        if hasattr(self, "home"):
            used = Counter(job.device for job in self.home.store.all(ACTIVE))
            assert set(used) <= set(self.home.devices) and all(count == 1 for count in used.values())

    @invariant()
    def one_start_an_attempt_and_one_attempt_a_job(self) -> None:
        if hasattr(self, "home"):
            assert max(Counter(self.home.launcher.starts).values(), default=1) == 1
            assert all(handle.endswith("/1") for handle in self.home.launcher.starts)

    @invariant()
    def an_end_is_final(self) -> None:
        if hasattr(self, "home"):
            now = {job.id: job for job in self.home.store.all(ENDED)}
            assert {job_id: now.get(job_id) for job_id in self.ends} == self.ends
            self.ends = now


Queue.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestQueue = Queue.TestCase
