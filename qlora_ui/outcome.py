"""How an attempt ended: from its exit code and the job's folder to a state and, if it failed, the reason;
and whether the next attempt starts by itself."""

import json
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qlora_ui import attempts, owner
from qlora_ui.events import Attempt, Ended, Failure, Log, Phase, parse
from qlora_ui.jobs import JobState
from qlora_ui.launchers.base import Life, Poll

EXIT_FILE = re.compile(r"exit\.(\d+)\.json")
TELLING = re.compile(rb'\{"event": "(attempt|phase|failure|ended|log", "key": "packed)"')
# What a shutdown or a closed login sends: an end from outside, not a fault of the job.
INTERRUPTS = (-signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP, owner.EXIT_STOPPED)
# The micro-batch plays no part in these: to halve it would only fail again.
BEFORE_TRAINING = ("starting", "downloading", "reading_data", "loading_model")


@dataclass(slots=True)
class Trace:
    """What an attempt's events say of its end. `code`: the one it was about to end with."""

    attempt: int = 0
    phase: str = ""
    failure: Failure | None = None
    code: int | None = None
    per_step: int = 0  # bins of a step: no micro-batch is larger


def outcome(folder: Path, attempt: int, code: int | None, asked: bool) -> tuple[JobState, dict[str, Any]]:
    """State and the fields that go with it. `code` is that of a `Poll`; `asked`: a person pressed Stop."""
    ended = {"ended": _ended(folder, attempt)}
    trace = read_trace(folder, attempt)
    if code is None:  # its parent died before it: the worker's own word counts
        code = trace.code
    if code == owner.EXIT_FINISHED:
        return JobState.FINISHED, ended
    if trace.failure is not None:
        return JobState.FAILED, {"error": {"key": trace.failure.key, "values": trace.failure.values}, **ended}
    stopped = asked and (code is None or code < 0 or code == owner.EXIT_STOPPED)
    if stopped or code in INTERRUPTS:
        return JobState.STOPPED, {"reason": "user" if asked else "interrupted", **ended}
    error = _unexplained(folder, attempt, code, trace.phase)
    if error is None:
        return JobState.STOPPED, {"reason": "interrupted", **ended}
    return JobState.FAILED, {"error": error, **ended}


def again(folder: Path, attempt: int, poll: Poll) -> dict[str, Any] | None:
    """What to add to the overrides, as the next attempt starts by itself; None where it does not.

    It does after an out of memory, whoever noticed it, as long as a smaller micro-batch is left to try; and,
    with nothing changed, where the machine under the worker was lost.
    """
    if poll.life is Life.LOST:
        return {}
    trace = read_trace(folder, attempt)
    code = trace.code if poll.code is None else poll.code
    if code == -signal.SIGKILL and _exit_record(folder, attempt).get("oom_kill"):
        code = owner.EXIT_OUT_OF_MEMORY
    if code != owner.EXIT_OUT_OF_MEMORY or trace.phase in BEFORE_TRAINING:
        return None
    try:
        config = attempts.config(folder, attempt)
        used = min(trace.per_step, config.trainer.per_device_train_batch_size)
        return attempts.retry(config, code, used)
    except (OSError, ValueError):  # somebody took the folder away
        return None


def read_trace(folder: Path, attempt: int) -> Trace:
    """That of one attempt, empty where its worker wrote nothing."""
    trace = Trace()
    try:
        with (folder / "events.jsonl").open("rb") as file:
            for line in file:
                match parse(line) if TELLING.match(line) else None:  # a few lines of many
                    case Attempt() as begun:
                        trace = Trace(begun.number)
                    case Phase(name=name):
                        trace.phase = name
                    case Failure() as failure:
                        trace.failure = failure
                    case Ended(code=code):
                        trace.code = code
                    case Log(key="packed", values=values):
                        trace.per_step = int(values["per_step"])
    except FileNotFoundError:
        pass
    return trace if trace.attempt == attempt else Trace(attempt)


def last_attempt(folder: Path) -> int:
    """The newest attempt of which the folder holds a trace, 0 if there is none."""
    exits = [int(match[1]) for path in folder.iterdir() if (match := EXIT_FILE.fullmatch(path.name))]
    claimed = owner.read(folder)
    return max([*exits, claimed.attempt if claimed else 0])


def _unexplained(folder: Path, attempt: int, code: int | None, phase: str) -> dict[str, Any] | None:
    """An end for which the worker gave no reason; None if nobody saw it end (the machine restarted)."""
    log = str(folder / "worker.log")
    claimed = owner.read(folder)
    if claimed is None or claimed.attempt < attempt:
        return {"key": "worker_did_not_start", "values": {"log": log}}
    if code is None:
        return None
    if code == -signal.SIGKILL:
        return _killed(_exit_record(folder, attempt), phase)
    if code < 0:
        return {"key": "worker_crashed", "values": {"signal": signal.Signals(-code).name, "log": log}}
    return {"key": "worker_failed", "values": {"code": code, "log": log}}


def _killed(record: dict[str, Any], phase: str) -> dict[str, Any]:
    """By SIGKILL, without our asking: the kernel, for memory, or somebody; with the last minute's figures."""
    if not record.get("memory"):
        return {"key": "worker_killed", "values": {}}
    _, used, free = record["memory"][-1]
    values = {"used": used, "free": free, "phase": phase or "starting"}
    if record["oom_kill"]:
        return {"key": "killed_for_memory", "values": {**values, "used": record["peak"]}}
    return {"key": "worker_killed_using", "values": values}


def _exit_record(folder: Path, attempt: int) -> dict[str, Any]:
    """What the worker's parent wrote last (`launchers/parent.py`); nothing where it could not."""
    try:
        record: dict[str, Any] = json.loads((folder / f"exit.{attempt}.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return record


def _ended(folder: Path, attempt: int) -> float:
    for name in (f"exit.{attempt}.json", "events.jsonl", "owner"):
        if (folder / name).exists():
            return (folder / name).stat().st_mtime
    return time.time()
