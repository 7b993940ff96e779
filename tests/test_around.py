"""Which checkpoint the page speaks of: the one that Resume will really go on from."""

import json
from pathlib import Path

import pytest

from qlora_ui import owner
from qlora_ui.events import Attempt, Failure
from qlora_ui.jobs import Job
from qlora_ui.ui.around import look
from qlora_ui.ui.follow import Followed
from tests.fake_launcher import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path, [""])


def save(home: Home, job: Job, step: int, attempt: int = 1) -> None:
    folder = home.store.folder(job.id) / "checkpoints" / f"step-{step}"
    folder.mkdir(parents=True)
    manifest = {"step": step, "time": 1.0, "loss": None, "dtype": "float32", "overrides": {}, "files": {}}
    (folder / "checkpoint.json").write_text(json.dumps({**manifest, "attempt": attempt}))


def shown(home: Home, job: Job) -> int | None:
    followed = Followed(home.store.folder(job.id) / "events.jsonl")
    followed.read()
    saved = look(home.job(job), home.scheduler, None, (), followed).saved
    return saved.step if saved else None


def test_a_checkpoint_of_another_shape_is_none(home: Home) -> None:
    job = home.run()
    home.write(job, Attempt(1), Failure("out_of_memory", {}))
    save(home, job, 16)
    home.end(job, owner.EXIT_FAILED)
    assert shown(home, job) == 16
    home.scheduler.resume(job.id, {"lora.r": 4})
    assert shown(home, job) is None


def test_a_course_that_was_left_is_not_spoken_of(home: Home) -> None:
    """The newest was damaged: the second attempt goes on from the one before it."""
    job = home.run()
    home.write(job, Attempt(1))
    save(home, job, 80)
    save(home, job, 82)
    home.end(job, -9)
    assert shown(home, job) == 82
    home.scheduler.resume(job.id)
    home.scheduler.tick()
    home.write(job, Attempt(2, from_step=80))
    assert shown(home, job) == 80
    save(home, job, 81, attempt=2)
    assert shown(home, job) == 81
