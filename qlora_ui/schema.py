"""The tables of `jobs.db`, and how a database of an earlier version becomes one of this."""

import sqlite3
from pathlib import Path

from qlora_ui.errors import UserError

PATIENCE = 2.0  # seconds to wait for another program that holds the database; whoever asked tries again later

# From version n to n + 1, as counted by `PRAGMA user_version`. Version 0.1 of this program counted nothing:
# its table is the first step's.
STEPS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE IF NOT EXISTS jobs (
            id TEXT PRIMARY KEY, name TEXT NOT NULL, config TEXT NOT NULL, state TEXT NOT NULL,
            reason TEXT NOT NULL DEFAULT '', attempt INTEGER NOT NULL DEFAULT 0,
            handle TEXT NOT NULL DEFAULT '', device TEXT NOT NULL DEFAULT '',
            needs_token INTEGER NOT NULL DEFAULT 0, error TEXT,
            created REAL NOT NULL, started REAL, ended REAL
        )""",
    ),
    (
        "ALTER TABLE jobs ADD COLUMN position REAL NOT NULL DEFAULT 0",
        "ALTER TABLE jobs ADD COLUMN held INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE jobs ADD COLUMN overrides TEXT NOT NULL DEFAULT '{}'",
        "ALTER TABLE jobs ADD COLUMN after_stop TEXT NOT NULL DEFAULT ''",
        "UPDATE jobs SET position = rowid",
        "CREATE TABLE queue (paused INTEGER NOT NULL)",
        "INSERT INTO queue VALUES (0)",
    ),
)


def open_database(path: Path) -> sqlite3.Connection:
    """The database, made or brought up to date. Raises sqlite3.DatabaseError, UserError `database_newer`."""
    db = sqlite3.connect(path, timeout=PATIENCE, check_same_thread=False, isolation_level=None)
    try:
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA journal_mode=WAL")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > len(STEPS):
            raise UserError("database_newer", path=str(path))
        for number in range(version, len(STEPS)):
            _migrate(db, number)
    except BaseException:
        db.close()
        raise
    return db


def _migrate(db: sqlite3.Connection, number: int) -> None:
    """One step, whole or not at all."""
    db.execute("BEGIN IMMEDIATE")
    for statement in STEPS[number]:
        db.execute(statement)
    db.execute(f"PRAGMA user_version = {number + 1}")
    db.execute("COMMIT")
