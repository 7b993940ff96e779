"""events.jsonl → what a job's page shows. Read once, however many pages look at it.

`Followed` folds events into curves, log, phase and answers; what it holds is bounded, whatever the job's
length. It remembers the last events with their byte offsets, too: a page that knows everything up to an
offset is sent only what came after. One that is too far behind, or knows a file that is no more, gets all.
"""

import math
import os
from collections import deque
from pathlib import Path
from typing import BinaryIO

import orjson

from qlora_ui.events import (
    Answer,
    Artifact,
    Attempt,
    Environment,
    Event,
    Failure,
    Log,
    Metrics,
    Phase,
    parse,
)
from qlora_ui.jobs import Job
from qlora_ui.ui.charts import METRICS
from qlora_ui.ui.series import Series

LOG_LINES = 300
RECENT = 1000  # lines a page may be behind and still catch up
NEAR = 1 << 20  # bytes: more than those lines have
QUESTIONS = 12
Line = Log | Metrics | Phase | Attempt | Failure
STEPS = ("training", "evaluating")  # phases whose beginning the lines of their steps say already


class Followed:
    """One job's events, folded up to `offset` (bytes)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clear()

    def clear(self) -> None:
        self.offset = 0
        self.series = {metric: Series() for metric in METRICS}
        self.log: deque[Line] = deque(maxlen=LOG_LINES)
        self.attempt = self.from_step = 0
        self.phase: Phase | None = None
        self.training: Phase | None = None  # its total is the number of steps
        self.metrics: Metrics | None = None  # the last
        self.began: Metrics | None = None  # the first of this attempt: pace is counted from here
        self.environment: Environment | None = None
        self.failure: Failure | None = None
        self.before: Failure | None = None  # why the attempt before this one gave up
        self.answers: dict[str, list[Answer]] = {}  # by question: before training, and the latest
        self.artifacts: dict[str, Artifact] = {}
        self._recent: deque[tuple[int, Event | None]] = deque(maxlen=RECENT)
        self._passed = b""  # the last line that was folded without becoming an event
        self._last = b""  # the line that ends at `offset`

    def doing(self, job: Job) -> Phase | None:
        """The phase it is in, None until the attempt that was started last has said its first words."""
        return self.phase if self.attempt >= job.attempt else None

    def read(self) -> bool:
        """Take in what was written since; True if anything was. A torn last line waits for its end.

        Raises OSError, but not for a file that is not there yet.
        """
        try:
            with self.path.open("rb") as file:
                if not self._continues(file):
                    self.clear()
                before = self.offset
                near = file.seek(0, os.SEEK_END) - NEAR
                file.seek(before)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    if self.offset > near or not self._far(line):
                        self._take(line)
                    self._last = line
                self._settle()
                return self.offset != before
        except FileNotFoundError:
            return False

    def since(self, offset: int) -> list[Event] | None:
        """The events from byte `offset` on, or None for an offset that cannot be caught up with."""
        if offset == self.offset:
            return []
        later: list[Event] = []
        for start, event in reversed(self._recent):
            if event is not None:
                later.append(event)
            if start == offset:
                return later[::-1]
        return None

    def _continues(self, file: BinaryIO) -> bool:
        """Whether the file still has the last line where it was: else it was cut or replaced."""
        file.seek(self.offset - len(self._last))
        return file.read(len(self._last)) == self._last

    def _far(self, line: bytes) -> bool:
        """Fold a metrics line of long ago; False for another line. At half the cost of an event, which nobody
        needs from there: that is what lets a job of 100,000 steps open within a second."""
        try:
            said = orjson.loads(line)
            if said["event"] != "metrics" or self.began is None:
                return False
            self._points(said["step"], said["values"])
        except (ValueError, TypeError, KeyError):
            return False
        self._passed = line
        self._recent.clear()  # no page comes back over a gap
        self.offset += len(line)
        return True

    def _settle(self) -> None:
        """The last of the metrics lines that were only folded is the last known."""
        if self._passed and isinstance(last := parse(self._passed), Metrics):
            self.metrics = last
        self._passed = b""

    def _take(self, line: bytes) -> None:
        self._settle()
        event = parse(line)
        try:
            self._fold(event)
        except (TypeError, ValueError, AttributeError):
            event = None  # right in its JSON, wrong in its values: passed over like a torn line
        self._recent.append((self.offset, event))
        self.offset += len(line)

    def _fold(self, event: Event | None) -> None:
        if (line := log_line(event)) is not None:
            self.log.append(line)
        match event:
            case Metrics():
                self._metrics(event)
            case Phase():
                self.phase = event
                self.training = event if event.name == "training" and event.total else self.training
            case Attempt():
                self._attempt(event)
            case Answer():
                self._answer(event)
            case Environment():
                self.environment = event
            case Artifact():
                self.artifacts[event.kind] = event
            case Failure():
                self.failure = event

    def _metrics(self, event: Metrics) -> None:
        self._points(event.step, event.values)
        self.metrics = event
        self.began = self.began or event

    def _points(self, step: int, values: dict[str, float]) -> None:
        whole(step)
        for metric, curve in self.series.items():
            if metric in values and math.isfinite(values[metric]):
                curve.add(step, values[metric])

    def _attempt(self, event: Attempt) -> None:
        kept = whole(event.from_step)
        for curve in self.series.values():
            curve.cut(kept)
        for answers in self.answers.values():
            answers[:] = [answer for answer in answers if answer.step <= kept]
        if self.metrics and self.metrics.step > kept:  # steps that are done again are not done
            epoch = self.metrics.epoch * kept / self.metrics.step
            self.metrics = Metrics(kept, epoch, {}, self.metrics.time)
        self.attempt, self.from_step = event.number, kept
        self.before = self.failure
        self.phase = self.training = self.began = self.failure = None

    def _answer(self, event: Answer) -> None:
        if event.question not in self.answers and len(self.answers) >= QUESTIONS:
            return
        answers = self.answers.setdefault(event.question, [])
        if len(answers) > 1 or (answers and answers[-1].step == event.step):
            answers.pop()
        answers.append(event)


def log_line(event: Event | None) -> Line | None:
    """The event as a line of the log, if it is one: a phase when it begins, not how far it is."""
    match event:
        case Log():
            return event
        case Failure():
            return event
        case Attempt() if event.number > 1:
            return event
        case Metrics() if {"loss", "eval_loss"} & event.values.keys():
            return event
        case Phase() if event.done == 0 and event.unit in ("", "bytes") and event.name not in STEPS:
            return event
    return None


def whole(step: int) -> int:
    """A step as it is. Raises ValueError for what is none: the file may be of any version's worker."""
    if not isinstance(step, int) or step < 0:
        raise ValueError(step)
    return step


def finite(event: Metrics) -> dict[str, float]:
    """The values of an event that are drawn. Raises TypeError for values that are no numbers."""
    values = event.values
    return {
        metric: values[metric] for metric in METRICS if metric in values and math.isfinite(values[metric])
    }
