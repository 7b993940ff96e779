"""Jobs and their store. The store is the only writer of `jobs.db`; the scheduler alone changes a state.

A job's folder is written before its row, so that the database can be rebuilt from the folders.
"""

import fcntl
import hashlib
import json
import logging
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
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from qlora_ui.config import TrainConfig
from qlora_ui.errors import UserError
from qlora_ui.failpoints import failpoint
from qlora_ui.folders import DELETED, clear, write_folder
from qlora_ui.schema import open_database

log = logging.getLogger(__name__)


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
    position: float  # in the queue: the lowest starts first
    held: bool  # queued, but paused: starts once a person resumes it
    overrides: dict[str, Any]  # what its attempts do otherwise than its config says
    after_stop: str  # "pause": back into the queue once the stopping worker has ended


COLUMNS = tuple(Job.__slots__)
_config = lru_cache(maxsize=4096)(TrainConfig.model_validate_json)  # a job's never changes


def _job_from_row(row: sqlite3.Row) -> Job:
    values = {name: row[name] for name in COLUMNS}
    values["config"] = _config(row["config"])
    values["state"] = JobState(row["state"])
    values["needs_token"] = bool(row["needs_token"])
    values["error"] = json.loads(row["error"]) if row["error"] else None
    values["held"] = bool(row["held"])
    values["overrides"] = json.loads(row["overrides"])
    return Job(**values)


class JobStore:
    """The jobs of one home folder, which it locks: threads share it, a second process is refused.

    Raises UserError `home_in_use`.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "jobs").mkdir(parents=True, exist_ok=True, mode=0o700)
        self._home_lock = _lock(home)
        clear(home / "jobs")
        self._lock = threading.Lock()
        self._unreadable: set[str] = set()  # ids of rows of which that was said
        try:
            self._db = open_database(home / "jobs.db")
        except BaseException:
            os.close(self._home_lock)
            raise

    def close(self) -> None:
        self._db.close()
        os.close(self._home_lock)

    def folder(self, job_id: str) -> Path:
        """`jobs/<id>`: config.json, events.jsonl, worker.log, adapter/."""
        return self.home / "jobs" / job_id

    def create(self, config: TrainConfig, needs_token: bool = False) -> Job:
        """Queue a job, last: its folder first, then its row. Raises OSError (disk full, database locked),
        UserError `parent_without_adapter`."""
        job_id = secrets.token_hex(5)
        write_folder(self.folder(job_id), config)
        try:
            return self._insert(job_id, config, JobState.QUEUED, needs_token=needs_token)
        except sqlite3.Error as error:
            shutil.rmtree(self.folder(job_id), ignore_errors=True)  # else it would be adopted
            raise OSError(str(error)) from error

    def adopt(self, job_id: str, state: JobState, **fields: Any) -> Job:
        """A row for a folder that has none (a job started without the page, or a lost database)."""
        config = TrainConfig.model_validate_json((self.folder(job_id) / "config.json").read_bytes())
        return self._insert(job_id, config, state, **fields)

    def folders(self) -> dict[str, float]:
        """When something was last made in or removed from each job's folder, by id, with or without a row."""
        with os.scandir(self.home / "jobs") as entries:
            return {entry.name: entry.stat().st_mtime for entry in entries if entry.name[0] != "."}

    def ids(self) -> set[str]:
        return {row["id"] for row in self._execute("SELECT id FROM jobs")}

    def get(self, job_id: str) -> Job | None:
        jobs = self._jobs("WHERE id = ?", (job_id,))
        return jobs[0] if jobs else None

    def all(self, states: Iterable[JobState] = ()) -> list[Job]:
        """All jobs, or those in some states, oldest first."""
        names = [str(state) for state in states]
        where = f"WHERE state IN ({','.join('?' * len(names))})" if names else ""
        return self._jobs(f"{where} ORDER BY created", names)

    def queue(self) -> list[Job]:
        """The queued jobs in the order in which they start, paused ones among them."""
        return self._jobs("WHERE state = ? ORDER BY position, created", [str(JobState.QUEUED)])

    def shift(self, job_id: str, way: Literal["up", "down"]) -> bool:
        """Let a queued job change places with the one before or after it; False where there is none."""
        jobs = self.queue()
        at = next((at for at, job in enumerate(jobs) if job.id == job_id), -1)
        to = at - 1 if way == "up" else at + 1
        if at < 0 or not 0 <= to < len(jobs):
            return False
        one, other = jobs[at], jobs[to]
        sql = "UPDATE jobs SET position = CASE id WHEN ? THEN ? ELSE ? END WHERE id IN (?, ?)"
        self._execute(sql, (one.id, other.position, one.position, one.id, other.id))
        return True

    def first(self) -> float:
        """A place before all of the queue."""
        return self._number("SELECT MIN(position) - 1 FROM jobs")

    def last(self) -> float:
        """A place behind all of the queue."""
        return self._number("SELECT MAX(position) + 1 FROM jobs")

    @property
    def paused(self) -> bool:
        """Whether the queue is: nothing new starts."""
        return bool(self._number("SELECT paused FROM queue"))

    @paused.setter
    def paused(self, on: bool) -> None:
        self._execute("UPDATE queue SET paused = ?", [on])

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
        with self._lock:  # row and folder go together, or the scheduler would adopt the folder
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
            "created": time.time(), "position": self.last(), **_columns(fields),
        }  # fmt: skip
        marks = ",".join("?" * len(row))
        sql = f"INSERT INTO jobs ({','.join(row)}) VALUES ({marks}) RETURNING *"
        return _job_from_row(self._execute(sql, tuple(row.values()))[0])

    def _jobs(self, rest: str, values: Iterable[Any]) -> list[Job]:
        """Rows as jobs. One that this version cannot read is passed over: it must not hold up the others."""
        jobs = []
        for row in self._execute(f"SELECT * FROM jobs {rest}", values):
            try:
                jobs.append(_job_from_row(row))
            except ValueError as error:
                if row["id"] not in self._unreadable:
                    self._unreadable.add(row["id"])
                    log.warning("job %s is passed over: %s", row["id"], error)
        return jobs

    def _number(self, sql: str) -> float:
        return float(self._execute(sql)[0][0] or 0)

    def _execute(self, sql: str, values: Iterable[Any] = ()) -> list[sqlite3.Row]:
        with self._lock:
            return self._db.execute(sql, tuple(values)).fetchall()


@contextmanager
def open_store(home: Path) -> Iterator[JobStore]:
    """The store of a home folder, made if need be. Raises UserError `home_in_use`, `home_unwritable`,
    `database_newer`, `database_locked`, `database_broken`."""
    try:
        store = JobStore(home)
    except OSError as error:
        raise UserError("home_unwritable", home=str(home), reason=error.strerror or str(error)) from error
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise UserError("database_locked", path=str(home / "jobs.db")) from error
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
