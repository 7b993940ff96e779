"""The job store: one writer, guarded changes, folders that match rows."""

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from qlora_ui.config import TrainConfig
from qlora_ui.errors import UserError
from qlora_ui.jobs import DELETED, JobState, JobStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    store = JobStore(tmp_path)
    yield store
    store.close()


def test_a_job_is_a_folder_and_a_row(store: JobStore) -> None:
    job = store.create(TrainConfig(name="mine"))
    assert store.get(job.id) == job
    assert (job.name, job.state, job.attempt, job.error) == ("mine", JobState.QUEUED, 0, None)
    assert TrainConfig.model_validate_json((store.folder(job.id) / "config.json").read_bytes()) == job.config
    assert os.stat(store.folder(job.id)).st_mode & 0o077 == 0, "only its owner reads it"


def test_a_change_is_guarded(store: JobStore) -> None:
    job = store.create(TrainConfig())
    assert store.move(job.id, JobState.STARTING, [JobState.QUEUED], attempt=1)
    assert not store.move(job.id, JobState.STARTING, [JobState.QUEUED], attempt=2)
    changed = store.get(job.id)
    assert changed is not None and changed.attempt == 1
    assert store.move(job.id, JobState.FAILED, [JobState.STARTING], error={"key": "k", "values": {"问": 1}})
    assert [job.error for job in store.all([JobState.FAILED])] == [{"key": "k", "values": {"问": 1}}]


def test_a_second_process_is_refused(store: JobStore) -> None:
    with pytest.raises(UserError) as error:
        JobStore(store.home)
    assert (error.value.key, error.value.values) == ("home_in_use", {"home": str(store.home)})
    store.close()
    JobStore(store.home).close()
    store._home_lock = os.open("/dev/null", os.O_RDONLY)  # closed again by the fixture


def test_only_an_ended_job_is_deleted_and_all_of_it(store: JobStore) -> None:
    job = store.create(TrainConfig())
    assert not store.delete(job.id)
    store.move(job.id, JobState.FINISHED, [JobState.QUEUED])
    assert store.unknown() == []
    assert store.delete(job.id)
    assert store.get(job.id) is None and store.unknown() == []
    assert os.listdir(store.home / "jobs") == []


def test_half_a_deletion_is_finished_at_the_next_start(tmp_path: Path) -> None:
    (tmp_path / "jobs" / f"{DELETED}abc" / "checkpoints").mkdir(parents=True)
    store = JobStore(tmp_path)
    assert os.listdir(tmp_path / "jobs") == []
    store.close()


def test_a_folder_whose_row_is_lost_is_unknown(store: JobStore) -> None:
    job = store.create(TrainConfig())
    with sqlite3.connect(store.home / "jobs.db") as other:
        other.execute("DELETE FROM jobs")
    other.close()
    assert store.unknown() == [job.id]
    assert store.adopt(job.id, JobState.STOPPED, reason="interrupted", created=5.0).created == 5.0
    assert store.unknown() == []


@pytest.mark.parametrize(("name", "suffix"), [("Rows.JSONL", ".jsonl"), ("../../x", ""), ("a.b/c", "")])
def test_an_upload_is_kept_under_its_content(store: JobStore, tmp_path: Path, name: str, suffix: str) -> None:
    upload = tmp_path / "upload"
    upload.write_bytes(b'{"text": "a"}\n')
    kept = store.keep_upload(upload, name)
    assert kept == store.home / "data" / f"{hashlib.sha256(upload.read_bytes()).hexdigest()}{suffix}"
    assert store.keep_upload(upload, name) == kept
    assert kept.stat().st_ino == upload.stat().st_ino, "no second copy"
    upload.unlink()
    assert kept.read_bytes() == b'{"text": "a"}\n'
    assert os.listdir(kept.parent) == [kept.name]


def test_an_upload_on_another_disk_is_copied(
    store: JobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def another_disk(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    upload = tmp_path / "rows.csv"
    upload.write_text("a,b\n1,2\n")
    monkeypatch.setattr(os, "link", another_disk)
    assert store.keep_upload(upload, "rows.csv").read_text() == "a,b\n1,2\n"
