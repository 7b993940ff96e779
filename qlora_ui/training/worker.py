"""The worker of one attempt: what it tells the page, and how it is stopped. Imports nothing heavy."""

import errno
import math
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from qlora_ui import owner
from qlora_ui.events import Attempt, Event, EventWriter, Failure, Log, Phase

# Phases that ask `stopping()` themselves, because something is worth keeping or must be tidied up.
PATIENT = ("downloading", "training", "evaluating", "saving")
INTERVAL = 0.5  # seconds between two reports of one phase: a person reads no faster
RESERVE = 64 * 1024  # bytes kept on the disk for the last word of a worker that filled it


class StopRequested(BaseException):
    """A person pressed Stop. Not an Exception: libraries catch those while they are being imported."""


class Superseded(Exception):
    """A newer attempt owns the job's folder: this one touches nothing more."""


class Worker:
    """One attempt at a job: its folder, its events, and whether a person wants it to stop."""

    def __init__(self, folder: Path, attempt: int) -> None:
        self.folder = folder
        self.attempt = attempt
        self.home = folder.parent.parent
        self.step = 0  # optimiser steps done
        self.from_step = 0  # of them, those of earlier attempts
        self.micro_batch = 0  # bins that it computes at once, 0 until that is known
        self._stopping = False
        self._stopped_at = math.inf
        self._patient = False
        self._told = ("", 0.0)  # the last phase told, and when
        self._writer = EventWriter(folder / "events.jsonl")
        self._reserve = folder / "events.reserve"

    @property
    def phase(self) -> str:
        """The last one told."""
        return self._told[0]

    def listen(self) -> None:
        """Catch the signals from here on, keep room for the last word. Raises OSError on a full disk."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        self._reserve.write_bytes(b"\0" * RESERVE)

    def begin(self, from_step: int = 0) -> None:
        """Say the first words: which attempt it is, and how many steps of earlier ones it keeps."""
        self.step = self.from_step = from_step
        self.tell(Attempt(self.attempt, from_step))
        self.report("starting")

    def tell(self, event: Event) -> None:
        """Append an event. Raises OSError on a full disk, Superseded where another attempt writes now."""
        self.check_owner()
        self._writer.append(event)

    def check_owner(self) -> None:
        """Raises Superseded where another attempt writes now."""
        if owner.superseded(self.folder, self.attempt):
            raise Superseded

    def log(self, key: str, level: str = "info", **values: Any) -> None:
        """A line of the log: the sentence `log.<key>` of `texts/`."""
        self.tell(Log(key, values, level))

    def report(self, phase: str, done: int = 0, total: int = 0, unit: str = "", rate: float = 0.0) -> None:
        """Say what is being done and how far it is; decides, too, how a Stop acts from here on."""
        self._patient = phase in PATIENT
        if not self._patient:
            self.check_stop()
        now = time.monotonic()
        if phase == self._told[0] and 0 < done < total and now - self._told[1] < INTERVAL:
            return
        if phase != self._told[0] and done:  # what is going on already has a beginning, too
            self.tell(Phase(phase, 0, total, unit))
        self._told = (phase, now)
        self.tell(Phase(phase, done, total, unit, rate))

    @property
    def stopped_for(self) -> float:
        """Seconds since a person pressed Stop."""
        return time.monotonic() - self._stopped_at

    def stopping(self) -> bool:
        return self._stopping

    def check_stop(self) -> None:
        """Raises StopRequested once a person pressed Stop."""
        if self._stopping:
            raise StopRequested

    @contextmanager
    def unstoppable(self) -> Iterator[None]:
        """A Stop inside waits for its end: what is saved is saved whole."""
        before, self._patient = self._patient, True
        yield
        self._patient = before

    def fail(self, key: str, values: dict[str, Any], traceback: str) -> None:
        """The last word. On a full disk it uses the place kept for it."""
        self._reserve.unlink(missing_ok=True)
        with suppress(OSError, Superseded):
            self.tell(Failure(key, values, traceback))

    def end(self) -> None:
        self._reserve.unlink(missing_ok=True)
        self._writer.close()

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        self._stopping = True
        self._stopped_at = min(self._stopped_at, time.monotonic())
        if not self._patient:
            self._patient = True  # the exception is on its way; a second signal must not disturb the end
            raise StopRequested


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error, what caused it, what caused that, …"""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def disk_full(error: BaseException) -> bool:
    """Whether an error, or what caused it, is a full disk."""
    full = (errno.ENOSPC, errno.EDQUOT)
    return any(
        (isinstance(cause, OSError) and cause.errno in full)
        # safetensors has an error of its own for it, and torch's names a position in the file
        or os.strerror(errno.ENOSPC) in str(cause)
        or re.search("PytorchStreamWriter failed|unexpected pos", str(cause)) is not None
        for cause in causes(error)
    )
