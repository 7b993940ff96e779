"""The job store: one writer, guarded changes, folders that match rows."""

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from qlora_ui import schema
from qlora_ui.config import TrainConfig
from qlora_ui.errors import UserError
from qlora_ui.folders import DELETED, NEW
from qlora_ui.jobs import JobState, JobStore, open_store


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
    assert store.delete(job.id)
    assert store.get(job.id) is None and not store.folders()
    assert os.listdir(store.home / "jobs") == []


def test_what_was_half_made_or_half_deleted_is_gone_at_the_next_start(tmp_path: Path) -> None:
    (tmp_path / "jobs" / f"{DELETED}abc" / "checkpoints").mkdir(parents=True)
    (tmp_path / "jobs" / f"{NEW}def" / "start").mkdir(parents=True)
    store = JobStore(tmp_path)
    assert os.listdir(tmp_path / "jobs") == []
    store.close()


def test_a_folder_whose_row_is_lost_gets_another(store: JobStore) -> None:
    job = store.create(TrainConfig())
    with sqlite3.connect(store.home / "jobs.db") as other:
        other.execute("DELETE FROM jobs")
    other.close()
    assert (store.ids(), list(store.folders())) == (set(), [job.id])
    assert store.adopt(job.id, JobState.STOPPED, reason="interrupted", created=5.0).created == 5.0
    assert store.ids() == {job.id}


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


def test_the_queue_s_order(store: JobStore) -> None:
    jobs = [store.create(TrainConfig(name=name)) for name in "abc"]

    def order() -> str:
        return "".join(job.name for job in store.queue())

    assert order() == "abc"
    assert store.shift(jobs[2].id, "up") and order() == "acb"
    assert store.shift(jobs[0].id, "down") and order() == "cab"
    assert not store.shift(jobs[2].id, "up") and not store.shift(jobs[1].id, "down")
    assert not store.shift("nobody", "up") and order() == "cab"
    store.move(jobs[1].id, JobState.QUEUED, [JobState.QUEUED], position=store.first(), held=True)
    assert order() == "bca" and store.queue()[0].held
    store.move(jobs[2].id, JobState.FINISHED, [JobState.QUEUED])
    assert not store.shift(jobs[2].id, "down"), "it waits no more"
    assert store.shift(jobs[0].id, "up") and order() == "ab"
    store.create(TrainConfig(name="d"))
    assert order() == "abd"


def test_the_queue_s_pause_is_kept(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    assert not store.paused
    store.paused = True
    store.close()
    store = JobStore(tmp_path)
    assert store.paused
    store.paused = False
    assert not store.paused
    store.close()


def database_of_0_1(home: Path) -> sqlite3.Connection:
    """As version 0.1 made it: no number, no order."""
    db = sqlite3.connect(home / "jobs.db")
    db.execute(
        """CREATE TABLE jobs (
            id TEXT PRIMARY KEY, name TEXT NOT NULL, config TEXT NOT NULL, state TEXT NOT NULL,
            reason TEXT NOT NULL DEFAULT '', attempt INTEGER NOT NULL DEFAULT 0,
            handle TEXT NOT NULL DEFAULT '', device TEXT NOT NULL DEFAULT '',
            needs_token INTEGER NOT NULL DEFAULT 0, error TEXT,
            created REAL NOT NULL, started REAL, ended REAL
        )"""
    )
    row = "INSERT INTO jobs (id, name, config, state, attempt, created) VALUES (?, ?, ?, ?, ?, ?)"
    for name, state, attempt in (("a", "finished", 1), ("b", "queued", 0), ("c", "queued", 0)):
        db.execute(row, (name, name, '{"version": 1}', state, attempt, 1.0))
    db.commit()
    return db


def test_a_database_of_0_1_opens(tmp_path: Path) -> None:
    database_of_0_1(tmp_path).close()
    for _ in range(2):  # the second time it is of this version
        store = JobStore(tmp_path)
        assert [job.id for job in store.queue()] == ["b", "c"]
        finished = store.get("a")
        assert finished is not None
        assert (finished.config, finished.attempt) == (TrainConfig(), 1)
        assert (finished.overrides, finished.held, finished.after_stop) == ({}, False, "")
        assert store.last() > max(job.position for job in store.all())
        store.close()


def test_half_a_migration_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database_of_0_1(tmp_path).close()
    whole = schema.STEPS
    monkeypatch.setattr(schema, "STEPS", (whole[0], (*whole[1][:3], "NONSENSE")))
    with pytest.raises(sqlite3.OperationalError):
        JobStore(tmp_path)
    monkeypatch.setattr(schema, "STEPS", whole)
    store = JobStore(tmp_path)
    assert len(store.all()) == 3
    store.close()


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    JobStore(tmp_path).close()
    with sqlite3.connect(tmp_path / "jobs.db") as other:
        other.execute("PRAGMA user_version = 99")
    other.close()
    with pytest.raises(UserError) as error:
        JobStore(tmp_path)
    assert error.value.key == "database_newer"


def test_a_row_that_cannot_be_read_holds_up_no_other(
    store: JobStore, caplog: pytest.LogCaptureFixture
) -> None:
    broken, good = (store.create(TrainConfig()) for _ in range(2))
    with sqlite3.connect(store.home / "jobs.db") as other:
        other.execute("UPDATE jobs SET config = '{\"version\": 99}' WHERE id = ?", (broken.id,))
    other.close()
    assert store.get(broken.id) is None
    assert [job.id for job in store.all()] == [job.id for job in store.queue()] == [good.id]
    assert store.ids() == {broken.id, good.id}
    assert len(caplog.records) == 1


def test_a_job_goes_on_from_its_parent_s_adapter(store: JobStore) -> None:
    parent = store.create(TrainConfig())
    with pytest.raises(UserError) as error:
        store.create(TrainConfig(parent=parent.id))
    assert (error.value.key, error.value.values) == ("parent_without_adapter", {"parent": parent.id})
    assert os.listdir(store.home / "jobs") == [parent.id], "nothing half-made"
    (store.folder(parent.id) / "adapter").mkdir()
    (store.folder(parent.id) / "adapter" / "adapter_model.safetensors").write_bytes(b"weights")
    child = store.create(TrainConfig(parent=parent.id))
    store.move(parent.id, JobState.FINISHED, [JobState.QUEUED])
    assert store.delete(parent.id)
    assert (store.folder(child.id) / "start" / "adapter_model.safetensors").read_bytes() == b"weights"


def test_a_locked_database_is_not_called_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "PATIENCE", 0.01)
    database_of_0_1(tmp_path).close()
    other = sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(UserError) as error, open_store(tmp_path):
        pass
    assert error.value.key == "database_locked"
    other.close()
    with open_store(tmp_path) as store:
        assert len(store.all()) == 3


def test_a_locked_database_is_said_and_leaves_nothing(store: JobStore) -> None:
    store._db.execute("PRAGMA busy_timeout = 10")
    other = sqlite3.connect(store.home / "jobs.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(OSError, match="locked"):
        store.create(TrainConfig())
    assert not store.folders()
    other.close()
    assert store.create(TrainConfig()).state is JobState.QUEUED
