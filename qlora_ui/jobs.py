"""Jobs and their store. The store is the only writer of `jobs.db`; the scheduler alone changes a state.

`config.json` is written before the row, so that the database can be rebuilt from the folders.
"""

import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from qlora_ui.config import TrainConfig
from qlora_ui.errors import UserError
from qlora_ui.failpoints import failpoint


class JobState(StrEnum):
    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"


ACTIVE = (JobState.STARTING, JobState.RUNNING, JobState.STOPPING)
ENDED = (JobState.FINISHED, JobState.FAILED, JobState.STOPPED)


@dataclass(frozen=True, slots=True)
class Job:
    """One training, queued to ended. Times are seconds since the epoch, None until they are known."""

    id: str
    name: str
    config: TrainConfig
    state: JobState
    reason: str  # of `stopped`: user, cancelled, interrupted
    attempt: int  # starts so far; the running one's number
    handle: str  # the launcher's, while a worker may live
    device: str  # GPU it was given ("0"), "" on a CPU
    needs_token: bool
    error: dict[str, Any] | None  # key and values of a UserError, of `failed`
    created: float
    started: float | None
    ended: float | None


SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, config TEXT NOT NULL, state TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '', attempt INTEGER NOT NULL DEFAULT 0, handle TEXT NOT NULL DEFAULT '',
    device TEXT NOT NULL DEFAULT '', needs_token INTEGER NOT NULL DEFAULT 0, error TEXT,
    created REAL NOT NULL, started REAL, ended REAL
)"""
COLUMNS = tuple(Job.__slots__)
DELETED = ".deleted-"  # a folder on its way out: no job's, whatever is left in it


def _job_from_row(row: sqlite3.Row) -> Job:
    values = {name: row[name] for name in COLUMNS}
    values["config"] = TrainConfig.model_validate_json(row["config"])
    values["state"] = JobState(row["state"])
    values["needs_token"] = bool(row["needs_token"])
    values["error"] = json.loads(row["error"]) if row["error"] else None
    return Job(**values)


class JobStore:
    """The jobs of one home folder, which it locks: threads share it, a second process is refused.

    Raises UserError `home_in_use`.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "jobs").mkdir(parents=True, exist_ok=True, mode=0o700)
        self._home_lock = _lock(home)
        for left in (home / "jobs").glob(DELETED + "*"):
            shutil.rmtree(left, ignore_errors=True)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(home / "jobs.db", check_same_thread=False, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute(SCHEMA)

    def close(self) -> None:
        self._db.close()
        os.close(self._home_lock)

    def folder(self, job_id: str) -> Path:
        """`jobs/<id>`: config.json, events.jsonl, worker.log, adapter/."""
        return self.home / "jobs" / job_id

    def create(self, config: TrainConfig, needs_token: bool = False) -> Job:
        """Queue a job: its folder with `config.json` first, then its row. Raises OSError on a full disk."""
        job_id = secrets.token_hex(5)
        write_folder(self.folder(job_id), config)
        return self._insert(job_id, config, JobState.QUEUED, needs_token=needs_token)

    def adopt(self, job_id: str, state: JobState, **fields: Any) -> Job:
        """A row for a folder that has none (a job started without the page, or a lost database)."""
        config = TrainConfig.model_validate_json((self.folder(job_id) / "config.json").read_bytes())
        return self._insert(job_id, config, state, **fields)

    def unknown(self) -> list[str]:
        """Ids of folders with a config but no row."""
        with self._lock:
            known = {row["id"] for row in self._db.execute("SELECT id FROM jobs")}
            names = set(os.listdir(self.home / "jobs")) - known
        return sorted(
            name for name in names if name[0] != "." and (self.folder(name) / "config.json").exists()
        )

    def get(self, job_id: str) -> Job | None:
        rows = self._execute("SELECT * FROM jobs WHERE id = ?", (job_id,))
        return _job_from_row(rows[0]) if rows else None

    def all(self, states: Iterable[JobState] = ()) -> list[Job]:
        """All jobs, or those in some states, oldest first: the order in which they start."""
        marks = ",".join("?" * len(names := [str(state) for state in states]))
        where = f"WHERE state IN ({marks})" if names else ""
        return [
            _job_from_row(row) for row in self._execute(f"SELECT * FROM jobs {where} ORDER BY created", names)
        ]

    def move(self, job_id: str, to: JobState, only_from: Iterable[JobState], **fields: Any) -> bool:
        """Change a state in one guarded UPDATE; False if the job was not (any more) in `only_from`."""
        sets = {"state": str(to), **_columns(fields)}
        sources = [str(state) for state in only_from]
        sql = (
            f"UPDATE jobs SET {', '.join(f'{name} = ?' for name in sets)} "
            f"WHERE id = ? AND state IN ({','.join('?' * len(sources))}) RETURNING id"
        )
        failpoint("update")  # before and after it
        moved = bool(self._execute(sql, (*sets.values(), job_id, *sources)))
        failpoint("update")
        return moved

    def rename(self, job_id: str, name: str) -> bool:
        return bool(self._execute("UPDATE jobs SET name = ? WHERE id = ? RETURNING id", (name, job_id)))

    def delete(self, job_id: str) -> bool:
        """Remove an ended job, row and folder; False for one that is not ended."""
        marks = ",".join("?" * len(ENDED))
        sql = f"DELETE FROM jobs WHERE id = ? AND state IN ({marks}) RETURNING id"
        folder = self.folder(job_id)
        trash = folder.with_name(DELETED + job_id)
        with self._lock:  # row and folder go together, or `unknown` would find the folder
            if not self._db.execute(sql, (job_id, *map(str, ENDED))).fetchall():
                return False
            if folder.exists():
                folder.rename(trash)
        shutil.rmtree(trash, ignore_errors=True)
        return True

    def keep_upload(self, path: Path, name: str) -> Path:
        """Keep an uploaded file as `data/<sha256><suffix>`: Gradio cleans its cache. Raises OSError."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        suffix = match[0].lower() if (match := re.search(r"\.[A-Za-z0-9]{1,8}$", name)) else ""
        kept = self.home / "data" / f"{digest}{suffix}"
        kept.parent.mkdir(exist_ok=True, mode=0o700)
        if not kept.exists():
            part = kept.with_name(f".{secrets.token_hex(5)}.part")
            try:
                os.link(path, part)  # no second copy of a large file
            except OSError:  # another disk, or one without links
                shutil.copyfile(path, part)
            part.replace(kept)
        return kept

    def _insert(self, job_id: str, config: TrainConfig, state: JobState, **fields: Any) -> Job:
        row = {
            "id": job_id, "name": config.name, "config": config.model_dump_json(), "state": str(state),
            "created": time.time(), **_columns(fields),
        }  # fmt: skip
        marks = ",".join("?" * len(row))
        sql = f"INSERT INTO jobs ({','.join(row)}) VALUES ({marks}) RETURNING *"
        return _job_from_row(self._execute(sql, tuple(row.values()))[0])

    def _execute(self, sql: str, values: Iterable[Any] = ()) -> list[sqlite3.Row]:
        with self._lock:
            return self._db.execute(sql, tuple(values)).fetchall()


@contextmanager
def open_store(home: Path) -> Iterator[JobStore]:
    """The store of a home folder, made if need be. Raises UserError `home_in_use`, `home_unwritable`,
    `database_broken`."""
    try:
        store = JobStore(home)
    except OSError as error:
        raise UserError("home_unwritable", home=str(home), reason=error.strerror or str(error)) from error
    except sqlite3.DatabaseError as error:
        raise UserError("database_broken", path=str(home / "jobs.db"), reason=str(error)) from error
    try:
        yield store
    finally:
        store.close()


def _columns(fields: dict[str, Any]) -> dict[str, Any]:
    """Values as SQLite takes them."""
    return {
        name: json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value
        for name, value in fields.items()
    }


def _lock(home: Path) -> int:
    fd = os.open(home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise UserError("home_in_use", home=str(home)) from None
    return fd


def write_folder(folder: Path, config: TrainConfig) -> None:
    """A job's folder with its `config.json`; the file appears whole or not at all."""
    folder.mkdir(parents=True, mode=0o700)
    part = folder / "config.json.part"
    part.write_text(config.model_dump_json(indent=1) + "\n", "utf-8")
    part.replace(folder / "config.json")
