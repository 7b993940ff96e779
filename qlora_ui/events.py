"""What a worker tells the page: one JSON line an event, appended to `events.jsonl` and never changed.

An event says what happened (a phase, a metric, a log line, an artifact), never the job's state: that is the
store's. Times are seconds since the epoch, memory and sizes are bytes.
"""

import errno
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from qlora_ui.failpoints import failpoint

PHASES = ("starting", "downloading", "loading_model", "reading_data", "training", "evaluating", "saving")


@dataclass(frozen=True, slots=True)
class Attempt:
    """A worker begins; points with a step above `from_step` belong to an earlier attempt and are dropped."""

    number: int
    from_step: int = 0
    time: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True)
class Phase:
    """What the worker is doing. `done` of `total` counts `unit` (bytes, rows, steps); total 0 is unknown."""

    name: str
    done: int = 0
    total: int = 0
    unit: str = ""
    rate: float = 0.0  # units a second, 0 if not measured
    time: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True)
class Metrics:
    """Every number the trainer logged at one optimiser step: loss, eval_loss, learning_rate, grad_norm,
    tokens_per_second, memory (bytes of the device, or resident on a CPU), …"""

    step: int
    epoch: float
    values: dict[str, float]
    time: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True)
class Log:
    """A line for the log: the sentence `log.<key>` of `texts/` and its values, in the reader's language."""

    key: str
    values: dict[str, Any] = field(default_factory=dict)
    level: str = "info"  # info, warning
    time: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model answers at a step (0: before training), to see the change."""

    step: int
    question: str
    answer: str
    time: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file or folder that is now whole: its kind (adapter), path relative to the job's folder, bytes."""

    kind: str
    path: str
    size: int
    step: int = 0
    time: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True)
class Environment:
    """What the job really ran on and with; once an attempt."""

    versions: dict[str, str]
    device: str
    dtype: str
    quantization: str
    trainable_parameters: int
    total_parameters: int
    threads: int = 0  # of a CPU
    time: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the worker gives up: key and values of a `UserError`, and the traceback for those who want it."""

    key: str
    values: dict[str, Any] = field(default_factory=dict)
    traceback: str = ""
    time: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True)
class Ended:
    """The worker's last word: the exit code it is about to end with. Its parent knows better, where it
    lives to see it."""

    code: int
    time: float = field(default_factory=time.time)


Event = Attempt | Phase | Metrics | Log | Answer | Artifact | Environment | Failure | Ended
TYPES: dict[str, type[Event]] = {
    cls.__name__.lower(): cls
    for cls in (Attempt, Phase, Metrics, Log, Answer, Artifact, Environment, Failure, Ended)
}


class EventWriter:
    """Appends events to a file, one whole line a write. One writer per file: the worker."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        # A worker killed in mid-write leaves half a line: end it, so that ours starts a line of its own.
        self._torn = torn(path)

    def append(self, event: Event) -> None:
        """Write one event. Raises OSError when the disk is full."""
        line = {"event": type(event).__name__.lower(), **asdict(event)}
        data = json.dumps(line, ensure_ascii=False).encode() + b"\n"
        if self._torn:
            data = b"\n" + data
        failpoint("append")  # before and after it
        written = os.write(self._fd, data)
        self._torn = written < len(data)
        failpoint("append")
        if self._torn:  # a disk that fills in mid-line takes part of it without an error
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        os.close(self._fd)


def torn(path: Path) -> bool:
    """Whether the file's last line lacks its end."""
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


class EventReader:
    """Reads whole lines from a byte offset on; `offset` is where the next read starts."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path = path
        self.offset = offset

    def read(self) -> Iterator[Event]:
        """Events written since the last read. A line that is torn or of an unknown type is passed over."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                data = file.read()
        except FileNotFoundError:
            return
        whole = data[: data.rfind(b"\n") + 1]
        self.offset += len(whole)
        for line in whole.splitlines():
            event = parse(line)
            if event is not None:
                yield event


def parse(line: bytes) -> Event | None:
    """One line → its event, or None if it is torn, or written by a newer version."""
    try:
        values = orjson.loads(line)
        return TYPES[values.pop("event")](**values)
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError):
        return None
