"""How an attempt ended: from its exit code and the job's folder to a state and, if it failed, the reason."""

import re
import signal
import time
from pathlib import Path
from typing import Any

from qlora_ui import owner
from qlora_ui.events import Attempt, Failure, parse
from qlora_ui.jobs import JobState

EXIT_FILE = re.compile(r"exit\.(\d+)\.json")
# What a shutdown or a closed login sends: an end from outside, not a fault of the job.
INTERRUPTS = (-signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP, owner.EXIT_STOPPED)


def outcome(folder: Path, attempt: int, code: int | None, asked: bool) -> tuple[JobState, dict[str, Any]]:
    """State and the fields that go with it. `code` is that of a `Poll`; `asked`: a person pressed Stop."""
    ended = {"ended": _ended(folder, attempt)}
    if code == owner.EXIT_FINISHED:
        return JobState.FINISHED, ended
    failed = failure(folder, attempt)
    if failed is not None:
        return JobState.FAILED, {"error": {"key": failed.key, "values": failed.values}, **ended}
    stopped = asked and (code is None or code < 0 or code == owner.EXIT_STOPPED)
    if stopped or code in INTERRUPTS:
        return JobState.STOPPED, {"reason": "user" if asked else "interrupted", **ended}
    error = _unexplained(folder, attempt, code)
    if error is None:
        return JobState.STOPPED, {"reason": "interrupted", **ended}
    return JobState.FAILED, {"error": error, **ended}


def failure(folder: Path, attempt: int) -> Failure | None:
    """The reason that the attempt's worker wrote, None if it wrote none."""
    found, number = None, 0
    try:
        with (folder / "events.jsonl").open("rb") as file:
            for line in file:
                if b'"attempt"' in line or b'"failure"' in line:  # parses a few lines of many
                    event = parse(line)
                    if isinstance(event, Attempt):
                        found, number = None, event.number
                    elif isinstance(event, Failure):
                        found = event
    except FileNotFoundError:
        return None
    return found if number == attempt else None


def last_attempt(folder: Path) -> int:
    """The newest attempt of which the folder holds a trace, 0 if there is none."""
    exits = [int(match[1]) for path in folder.iterdir() if (match := EXIT_FILE.fullmatch(path.name))]
    claimed = owner.read(folder)
    return max([*exits, claimed.attempt if claimed else 0])


def _unexplained(folder: Path, attempt: int, code: int | None) -> dict[str, Any] | None:
    """An end for which the worker gave no reason: `worker_killed`, `worker_crashed`, `worker_failed`,
    `worker_did_not_start`; None if nobody saw it end (the machine restarted)."""
    log = str(folder / "worker.log")
    claimed = owner.read(folder)
    if claimed is None or claimed.attempt < attempt:
        return {"key": "worker_did_not_start", "values": {"log": log}}
    if code is None:
        return None
    if code == -signal.SIGKILL:
        return {"key": "worker_killed", "values": {}}
    if code < 0:
        return {"key": "worker_crashed", "values": {"signal": signal.Signals(-code).name, "log": log}}
    return {"key": "worker_failed", "values": {"code": code, "log": log}}


def _ended(folder: Path, attempt: int) -> float:
    for name in (f"exit.{attempt}.json", "events.jsonl", "owner"):
        if (folder / name).exists():
            return (folder / name).stat().st_mtime
    return time.time()
