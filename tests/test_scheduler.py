"""The scheduler's tick against a launcher that does what the test says."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from qlora_ui import owner
from qlora_ui.config import TrainConfig
from qlora_ui.events import Attempt, Failure
from qlora_ui.folders import write_folder
from qlora_ui.jobs import JobState
from qlora_ui.launchers.base import Life, Poll
from tests.fake_launcher import Home


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path, [""])
    yield home
    home.store.close()


def test_one_job_on_a_cpu_oldest_first(home: Home) -> None:
    first, second = (home.scheduler.submit(TrainConfig(name=name)) for name in "ab")
    home.scheduler.tick()
    home.scheduler.tick()
    assert home.states(first, second) == ["running", "queued"]
    assert "CUDA_VISIBLE_DEVICES" not in home.launcher.env[f"{first.id}/1"]
    home.launcher.end(first, 0)
    home.scheduler.tick()
    assert home.states(first, second) == ["finished", "running"]


def test_one_job_a_gpu(home: Home) -> None:
    home.devices = ["0", "3"]
    jobs = [home.scheduler.submit(TrainConfig()) for _ in range(3)]
    home.scheduler.tick()
    assert home.states(*jobs) == ["running", "running", "queued"]
    assert [home.job(job).device for job in jobs] == ["0", "3", ""]
    assert home.launcher.env[f"{jobs[1].id}/1"]["CUDA_VISIBLE_DEVICES"] == "3"
    home.launcher.end(jobs[1], 1)
    home.scheduler.tick()
    assert home.job(jobs[2]).device == "3"


def test_gpus_that_are_gone_for_a_while_are_no_free_cpu(home: Home) -> None:
    home.devices = ["0"]
    home.run()
    home.devices = [""]
    assert home.run().state is JobState.QUEUED


@pytest.mark.parametrize(
    ("code", "state", "reason", "key"),
    [
        (0, "finished", "", None),
        (130, "stopped", "interrupted", None),
        (-15, "stopped", "interrupted", None),
        (None, "stopped", "interrupted", None),
        (1, "failed", "", "worker_failed"),
        (-9, "failed", "", "worker_killed"),
        (-11, "failed", "", "worker_crashed"),
    ],
)
def test_ends(home: Home, code: int | None, state: str, reason: str, key: str | None) -> None:
    job = home.run()
    home.launcher.end(job, code)
    home.scheduler.tick()
    job = home.job(job)
    assert (job.state, job.reason, job.error and job.error["key"]) == (state, reason, key)
    assert job.handle == "" and job.ended is not None


def test_a_worker_that_never_began(home: Home) -> None:
    job = home.run()
    (home.store.folder(job.id) / "owner").unlink()
    home.launcher.end(job, None)
    home.scheduler.tick()
    assert home.job(job).error == {
        "key": "worker_did_not_start",
        "values": {"log": str(home.store.folder(job.id) / "worker.log")},
    }


def test_the_worker_s_own_reason(home: Home) -> None:
    job = home.run()
    home.write(job, Attempt(1), Failure("disk_full", {"folder": "/x"}, "Traceback"))
    home.launcher.end(job, 1)
    home.scheduler.tick()
    assert home.job(job).error == {"key": "disk_full", "values": {"folder": "/x"}}


def test_the_reason_of_an_earlier_attempt_is_not_this_one_s(home: Home) -> None:
    job = home.run()
    home.write(job, Attempt(1), Failure("disk_full", {"folder": "/x"}), Attempt(2))
    second = home.launcher.submit(home.store.folder(job.id), 2, {})
    home.store.move(job.id, JobState.RUNNING, [JobState.RUNNING], attempt=2, handle=second)
    home.launcher.end(home.job(job), -9)
    home.scheduler.tick()
    assert home.job(job).error == {"key": "worker_killed", "values": {}}


@pytest.mark.parametrize("life", [Life.QUEUED, Life.UNREACHABLE])
def test_no_answer_changes_nothing(home: Home, life: Life) -> None:
    job = home.run()
    home.launcher.workers[job.handle] = Poll(life)
    home.scheduler.tick()
    assert home.job(job) == job


def test_stop(home: Home) -> None:
    running, queued = home.run(), home.scheduler.submit(TrainConfig())
    assert home.scheduler.stop(queued.id)
    assert (home.job(queued).state, home.job(queued).reason) == (JobState.STOPPED, "cancelled")
    assert not home.scheduler.stop(queued.id), "it has ended"
    assert not home.scheduler.stop("no such job")
    assert home.scheduler.stop(running.id)
    assert home.states(running) == ["stopping"]
    assert home.scheduler.stop(running.id)
    assert home.launcher.stopped == [(running.handle, False), (running.handle, True)]
    home.launcher.end(running, -9)
    home.scheduler.tick()
    assert (home.job(running).state, home.job(running).reason) == (JobState.STOPPED, "user")
    assert home.job(running).error is None


@pytest.mark.parametrize(
    ("code", "state"), [(130, "stopped"), (None, "stopped"), (0, "finished"), (1, "failed")]
)
def test_an_end_after_stop_is_told_truly(home: Home, code: int | None, state: str) -> None:
    job = home.run()
    home.scheduler.stop(job.id)
    home.launcher.end(job, code)
    home.scheduler.tick()
    assert (home.job(job).state, home.job(job).reason) == (state, "user" if state == "stopped" else "")


def test_a_start_that_fails_is_a_failed_job(home: Home) -> None:
    home.launcher.broken = OSError(28, "No space left on device")
    job = home.run()
    assert job.error == {"key": "cannot_start", "values": {"reason": "No space left on device"}}
    assert job.state is JobState.FAILED


def test_killed_between_start_and_handle(home: Home) -> None:
    """The next web process finds the worker and starts no second one; where there is none, it starts it."""
    started, unstarted = (home.store.create(TrainConfig()) for _ in range(2))
    for job in (started, unstarted):
        home.store.move(job.id, JobState.STARTING, [JobState.QUEUED], attempt=1)
    home.launcher.submit(home.store.folder(started.id), 1, {})
    home.restart()
    home.scheduler.tick()
    home.scheduler.tick()
    assert home.states(started, unstarted) == ["running", "running"]
    assert sorted(home.launcher.starts) == sorted([f"{started.id}/1", f"{unstarted.id}/1"])


def test_killed_before_a_stop_was_passed_on(home: Home) -> None:
    running, unstarted = home.run(), home.store.create(TrainConfig())
    home.store.move(running.id, JobState.STOPPING, [JobState.RUNNING])
    home.store.move(unstarted.id, JobState.STARTING, [JobState.QUEUED], attempt=1)
    home.restart()
    home.scheduler.stop(unstarted.id)
    home.scheduler.start()
    home.scheduler.close()
    home.scheduler.tick()
    assert home.launcher.stopped == [(running.handle, False)]
    assert home.states(running, unstarted) == ["stopping", "stopped"]
    assert home.job(unstarted).reason == "user"


def test_a_token_goes_to_the_worker_only_and_is_asked_for_after_a_restart(home: Home) -> None:
    blocker = home.run()
    waiting = home.scheduler.submit(TrainConfig(), "hf_secret")
    home.restart()
    home.launcher.end(blocker, 0)
    home.scheduler.tick()
    assert home.scheduler.waits_for_token(home.job(waiting))
    other = home.run()
    assert other.state is JobState.RUNNING, "a job that waits holds up no other"
    home.scheduler.give_token(waiting.id, "hf_secret")
    home.launcher.end(other, 0)
    home.scheduler.tick()
    assert home.states(waiting) == ["running"]
    assert home.launcher.env[f"{waiting.id}/1"] == {"HF_TOKEN": "hf_secret"}
    files = [path for path in home.path.rglob("*") if path.is_file()]
    assert files and not [path for path in files if b"hf_secret" in path.read_bytes()]


def test_a_start_cut_off_with_its_token_waits_again(home: Home) -> None:
    job = home.store.create(TrainConfig(), needs_token=True)
    home.store.move(job.id, JobState.STARTING, [JobState.QUEUED], attempt=1)
    home.scheduler.tick()
    assert home.scheduler.waits_for_token(home.job(job))
    home.scheduler.give_token(job.id, "hf_x")
    home.scheduler.tick()
    assert home.launcher.starts == [f"{job.id}/2"]


@pytest.mark.parametrize(
    ("poll", "state", "reason"),
    [
        (Poll(Life.RUNNING), "running", ""),
        (Poll(Life.ENDED, 0), "finished", ""),
        (Poll(Life.ENDED, 130), "stopped", "user"),
        (Poll(Life.ENDED, None), "stopped", "interrupted"),
    ],
)
def test_a_folder_without_a_row_is_adopted(home: Home, poll: Poll, state: str, reason: str) -> None:
    folder = home.store.folder("trained")
    write_folder(folder, TrainConfig(name="by hand"))
    owner.claim(folder, 1)
    home.launcher.workers["trained/1"] = poll
    home.scheduler.tick()
    job = home.store.get("trained")
    assert job is not None and (job.state, job.reason, job.name) == (state, reason, "by hand")
    assert home.run().state is (JobState.QUEUED if state == "running" else JobState.RUNNING)


def test_a_folder_without_a_worker(home: Home) -> None:
    folder = home.store.folder("unborn")
    write_folder(folder, TrainConfig())
    home.scheduler.tick()
    assert home.store.get("unborn") is None, "`train` may be about to start it"
    for path in (folder / "config.json", folder):
        os.utime(path, (1e9, 1e9))
    home.scheduler.tick()
    job = home.store.get("unborn")
    assert job is not None and (job.state, job.reason, job.created) == ("stopped", "interrupted", 1e9)


def test_a_folder_that_is_no_job_is_left_alone(home: Home) -> None:
    folder = home.store.folder("odd")
    folder.mkdir()
    (folder / "config.json").write_text('{"version": 99}')
    os.utime(folder / "config.json", (1e9, 1e9))
    home.scheduler.tick()
    assert home.run().state is JobState.RUNNING
    assert [job.id for job in home.store.all()] != ["odd"]
