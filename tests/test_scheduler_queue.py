"""What a person does with the queue: another order, pause, resume; and what the queue does by itself."""

import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from qlora_ui import attempts, owner
from qlora_ui.attempts import MICRO_BATCH
from qlora_ui.config import Keep, TrainConfig, Trainer
from qlora_ui.events import Attempt, Ended, Failure, Phase
from qlora_ui.jobs import Job, JobState
from qlora_ui.launchers.base import Life, Poll
from tests.fake_launcher import Home

EIGHT = TrainConfig(trainer=Trainer(per_device_train_batch_size=8))
SECONDS = [[-59, 3_000_000_000, 900_000_000], [-1, 3_100_000_000, 200_000_000]]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path, [""])
    yield home
    home.store.close()


def micro_batches(home: Home, job: Job) -> list[int]:
    """What each attempt was told to do."""
    folder = home.store.folder(job.id)
    configs = [attempts.config(folder, number) for number in range(1, home.job(job).attempt + 1)]
    return [config.trainer.per_device_train_batch_size for config in configs]


def killed(home: Home, job: Job, oom_kill: bool, phase: str = "training") -> Job:
    """Its worker is killed by SIGKILL, and its parent wrote what it saw."""
    job = home.job(job)
    home.write(job, Attempt(job.attempt), Phase(phase))
    told = {"code": -9, "oom_kill": oom_kill, "peak": 3_200_000_000, "memory": SECONDS}
    (home.store.folder(job.id) / f"exit.{job.attempt}.json").write_text(json.dumps(told))
    return home.end(job, -9)


def test_another_order(home: Home) -> None:
    blocker = home.run()
    first, second = (home.scheduler.submit(TrainConfig()) for _ in range(2))
    assert home.scheduler.move(second.id, "up")
    assert not home.scheduler.move(second.id, "up") and not home.scheduler.move(blocker.id, "down")
    home.end(blocker, 0)
    assert home.states(first, second) == ["queued", "running"]


def test_a_running_job_that_is_paused_waits_first_in_the_queue(home: Home) -> None:
    job, other = home.run(), home.scheduler.submit(TrainConfig())
    assert home.scheduler.pause(job.id)
    assert (home.job(job).state, home.launcher.stopped) == (JobState.STOPPING, [(job.handle, False)])
    assert not home.scheduler.pause(job.id), "it is on its way"
    home.restart()
    paused = home.end(job, owner.EXIT_STOPPED)
    assert home.states(job, other) == ["queued", "running"]
    assert paused.held and not paused.handle and not paused.after_stop
    assert [one.id for one in home.store.queue()] == [job.id]
    home.end(other, 0)
    assert home.states(job) == ["queued"], "it waits for a person"
    assert home.scheduler.resume(job.id)
    home.scheduler.tick()
    assert (home.job(job).state, home.job(job).attempt) == (JobState.RUNNING, 2)


def test_a_queued_job_is_held_back(home: Home) -> None:
    blocker, job = home.run(), home.scheduler.submit(TrainConfig())
    assert home.scheduler.pause(job.id) and not home.scheduler.pause(job.id)
    home.end(blocker, 0)
    assert home.states(job) == ["queued"]
    assert home.scheduler.stop(job.id)
    assert (home.job(job).reason, home.job(job).held) == ("cancelled", False)


@pytest.mark.parametrize(
    ("code", "state", "held"),
    [(0, "finished", False), (1, "failed", False), (-9, "queued", True), (None, "queued", True)],
)
def test_an_end_while_pausing_is_told_truly(home: Home, code: int | None, state: str, held: bool) -> None:
    job = home.run()
    home.scheduler.pause(job.id)
    job = home.end(job, code)
    assert (job.state, job.held, job.after_stop) == (state, held, "")


def test_stop_now_while_pausing_is_a_stop(home: Home) -> None:
    job = home.run()
    home.scheduler.pause(job.id)
    home.scheduler.stop(job.id)
    assert home.launcher.stopped[-1] == (job.handle, True)
    assert (home.end(job, -9).state, home.job(job).reason) == (JobState.STOPPED, "user")


def test_the_pause_of_the_queue_outlives_a_restart(home: Home) -> None:
    running = home.run()
    home.scheduler.pause_queue(True)
    waiting = home.scheduler.submit(TrainConfig())
    home.restart()
    home.end(running, 0)
    assert home.scheduler.paused and home.states(running, waiting) == ["finished", "queued"]
    home.scheduler.pause_queue(False)
    home.scheduler.tick()
    assert home.states(waiting) == ["running"]


@pytest.mark.parametrize("code", [130, 1, -9, None])
def test_resume_goes_on_behind_the_others(home: Home, code: int | None) -> None:
    job = home.end(home.run(), code)
    running, waiting = home.run(), home.scheduler.submit(TrainConfig())
    assert home.scheduler.resume(job.id, {MICRO_BATCH: 4}) and not home.scheduler.resume(job.id)
    resumed = home.job(job)
    assert (resumed.state, resumed.reason, resumed.error, resumed.ended) == ("queued", "", None, None)
    assert [one.id for one in home.store.queue()] == [waiting.id, job.id]
    home.end(running, 0)
    home.end(waiting, 0)
    assert (home.job(job).state, micro_batches(home, job)) == (JobState.RUNNING, [1, 4])


def test_what_cannot_be_resumed(home: Home) -> None:
    job = home.run()
    assert not home.scheduler.resume(job.id) and not home.scheduler.resume("nobody")
    home.end(job, 0)
    assert not home.scheduler.resume(job.id), "finished: a new job may go on from its adapter"
    failed = home.end(home.run(), 1)
    with pytest.raises(ValidationError):
        home.scheduler.resume(failed.id, {MICRO_BATCH: 0})
    assert home.job(failed) == failed


def test_a_job_with_a_token_is_resumed_without_typing_it_again(home: Home) -> None:
    job = home.end(home.run("hf_x"), 130)
    assert home.scheduler.resume(job.id)
    home.scheduler.tick()
    assert home.launcher.env[f"{job.id}/2"] == {"HF_TOKEN": "hf_x"}
    home.restart()
    home.end(job, 130)
    assert home.scheduler.resume(job.id) and home.scheduler.waits_for_token(home.job(job))


def test_out_of_memory_halves_the_micro_batch_down_to_1(home: Home) -> None:
    job, other = home.run(config=EIGHT), home.scheduler.submit(TrainConfig())
    for attempt in (2, 3, 4):
        again = home.end(job, owner.EXIT_OUT_OF_MEMORY)
        assert (again.state, again.attempt, again.error) == (JobState.RUNNING, attempt, None)
    home.write(job, Attempt(4), Phase("training"), Failure("out_of_memory", {"asked": 1}))
    failed = home.end(job, owner.EXIT_OUT_OF_MEMORY)
    assert (failed.state, failed.error) == (
        JobState.FAILED,
        {"key": "out_of_memory", "values": {"asked": 1}},
    )
    assert micro_batches(home, job) == [8, 4, 2, 1] and failed.config == EIGHT
    assert home.states(other) == ["running"]


@pytest.mark.parametrize(
    ("phase", "config"),
    [
        ("loading_model", EIGHT),
        ("training", EIGHT.model_copy(update={"keep": Keep(smaller_micro_batch=False)})),
        ("training", TrainConfig()),
    ],
)
def test_no_retry_that_could_not_help_or_is_not_wanted(home: Home, phase: str, config: TrainConfig) -> None:
    job = home.run(config=config)
    home.write(job, Attempt(1), Phase(phase), Failure("out_of_memory"))
    assert home.end(job, owner.EXIT_OUT_OF_MEMORY).state is JobState.FAILED


def test_out_of_memory_after_stop_is_no_new_start_and_after_pause_waits(home: Home) -> None:
    stopped = home.run(config=EIGHT)
    home.scheduler.stop(stopped.id)
    assert home.end(stopped, owner.EXIT_OUT_OF_MEMORY).state is JobState.FAILED
    paused = home.run(config=EIGHT)
    home.scheduler.pause(paused.id)
    paused = home.end(paused, owner.EXIT_OUT_OF_MEMORY)
    assert (paused.state, paused.held, paused.overrides) == (JobState.QUEUED, True, {MICRO_BATCH: 4})


def test_a_lost_node(home: Home) -> None:
    job = home.run(config=EIGHT)
    home.launcher.workers[job.handle] = Poll(Life.LOST)
    home.scheduler.tick()
    assert (home.job(job).state, home.job(job).attempt) == (JobState.RUNNING, 2)
    assert micro_batches(home, job) == [8, 8]


def test_killed_by_the_kernel_for_memory(home: Home) -> None:
    job = home.run(config=EIGHT)
    assert killed(home, job, oom_kill=True).state is JobState.RUNNING
    assert micro_batches(home, job) == [8, 4]
    for _ in range(2):
        killed(home, job, oom_kill=True)
    assert killed(home, job, oom_kill=True).error == {
        "key": "killed_for_memory",
        "values": {"used": 3_200_000_000, "free": 200_000_000, "phase": "training"},
    }
    assert home.job(job).attempt == 4


def test_killed_by_somebody(home: Home) -> None:
    assert killed(home, home.run(config=EIGHT), oom_kill=False, phase="saving").error == {
        "key": "worker_killed_using",
        "values": {"used": 3_100_000_000, "free": 200_000_000, "phase": "saving"},
    }


@pytest.mark.parametrize(("code", "state"), [(0, "finished"), (130, "stopped"), (1, "failed")])
def test_an_end_that_nobody_saw_is_told_by_the_worker(home: Home, code: int, state: str) -> None:
    job = home.run()
    failures = [Failure("disk_full", {"folder": "/x"})] if code == 1 else []
    home.write(job, Attempt(1), Phase("saving"), *failures, Ended(code))
    assert home.end(job, None).state == state


def test_an_out_of_memory_that_nobody_saw_is_tried_again(home: Home) -> None:
    job = home.run(config=EIGHT)
    home.write(job, Attempt(1), Phase("training"), Ended(owner.EXIT_OUT_OF_MEMORY))
    assert (home.end(job, None).state, micro_batches(home, job)) == (JobState.RUNNING, [8, 4])


def test_an_attempt_that_was_started_without_the_page_is_followed(home: Home) -> None:
    job = home.end(home.run(), 130)
    folder = home.store.folder(job.id)
    attempts.write(folder, 2, {MICRO_BATCH: 2})
    handle = home.launcher.submit(folder, 2, {})
    home.scheduler.tick()
    running = home.job(job)
    assert (running.state, running.attempt, running.handle) == (JobState.RUNNING, 2, handle)
    assert (running.overrides, running.reason, running.ended) == ({MICRO_BATCH: 2}, "", None)
    assert home.end(job, 0).state is JobState.FINISHED


def test_a_database_put_back_from_a_copy(home: Home) -> None:
    home.devices = ["0", "1"]
    ended, running, waiting = (home.scheduler.submit(TrainConfig()) for _ in range(3))
    with sqlite3.connect(home.path / "copy.db") as copy:
        home.store._db.backup(copy)
    copy.close()
    home.scheduler.tick()
    home.end(ended, 0)
    starts = list(home.launcher.starts)
    home.store.close()
    os.replace(home.path / "copy.db", home.path / "jobs.db")
    home.open()
    home.scheduler.tick()
    assert home.states(ended, running, waiting) == ["finished", "running", "running"]
    assert {home.job(running).device, home.job(waiting).device} == {"0", "1"}
    assert home.launcher.starts == starts


def test_a_database_that_is_locked_holds_up_but_loses_nothing(home: Home) -> None:
    home.store._db.execute("PRAGMA busy_timeout = 10")
    job = home.scheduler.submit(TrainConfig())
    other = sqlite3.connect(home.path / "jobs.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        home.scheduler.tick()
    assert not home.launcher.starts
    other.close()
    home.scheduler.tick()
    assert home.states(job) == ["running"]
