"""Keeps every open page up to date: one reader per job, asked once a second, shared by all pages that look.

A page is sent messages as server-sent events. Each message's id is the byte offset in events.jsonl up to
which the page then knows everything, so that it can come back after a lost connection, or to another server
process, and miss nothing and get nothing twice. Keys of a message (`assets/monitor.js` reads them), all
optional: `all` drop what you have, this is everything · `cut` drop points above that step · `pts` points,
each [step, value per metric…] · `log` [time, level, sentence] · `bar` [share, line, state, icon] · `say` a
sentence per chart · `answers` · `job` the job's row and what depends on it · `gone` the job was deleted.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from qlora_ui.events import Answer, Attempt, Environment, Event, Log, Metrics
from qlora_ui.jobs import Job, JobState, JobStore
from qlora_ui.scheduler import Scheduler
from qlora_ui.texts import text
from qlora_ui.ui import charts, view, wording
from qlora_ui.ui.follow import Followed, Line, finite, log_line

INTERVAL = 1.0  # seconds between two looks at a job's file
PING = 15.0  # seconds of silence after which a connection is shown to live
SAY = 5.0  # seconds between two sentences about a chart: a screen reader reads them
KEPT = 32  # jobs nobody looks at that stay read, to open at once


@dataclass(frozen=True, slots=True)
class Seen:
    """What a page has been told: events up to an offset, the how-manieth row and sentences."""

    offset: int = -1
    row: int = 0
    say: int = -1


@dataclass(eq=False)
class Watched:
    """One job that pages look at: its row, its events, and the messages made of them."""

    followed: Followed
    job: Job | None = None
    waits_for: tuple[str, ...] = ()  # while it is queued
    row: int = 0  # counts its changes
    say: int = 0  # counts the times that sentences about the charts were due
    unsaid: bool = False
    said: float = 0.0
    looked: float = 0.0
    pages: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    made: dict[tuple[str, Seen], bytes] = field(default_factory=dict)
    ticking: asyncio.Task[None] | None = None

    @property
    def seen(self) -> Seen:
        """What a page knows that was told everything."""
        return Seen(self.followed.offset, self.row, self.say)


class Live:
    """All watched jobs of a server. Lives in the event loop of the web server."""

    def __init__(self, store: JobStore, scheduler: Scheduler) -> None:
        self.store = store
        self.scheduler = scheduler
        self._watched: OrderedDict[str, Watched] = OrderedDict()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    async def messages(self, job_id: str, language: str, offset: int) -> AsyncIterator[bytes]:
        """Server-sent events for a page that knows everything up to `offset` (-1: nothing)."""
        yield b"retry: 2000\n\n"
        self._loop = asyncio.get_running_loop()
        watched = self._open(job_id)
        watched.pages += 1
        seen = Seen(offset)
        try:
            await self._look(job_id, watched)
            while not self._closed:
                news = watched.news
                async with watched.lock:
                    message = self._message(watched, language, seen)
                    seen = watched.seen
                if message:
                    yield message
                if watched.job is None or self._closed:
                    return
                self._keep_ticking(job_id, watched)
                if not await _within(news, PING):
                    yield b": ping\n\n"
        finally:
            watched.pages -= 1
            self._forget()

    async def now(self, job_id: str) -> tuple[Job | None, Followed]:
        """A job and what its events say, at most INTERVAL old."""
        watched = self._open(job_id)
        if time.monotonic() - watched.looked >= INTERVAL:
            await self._look(job_id, watched)
        self._forget()
        return watched.job, watched.followed

    def end(self) -> None:
        """End all streams, so that the server can stop at once. From any thread."""
        if self._loop and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        self._closed = True
        for watched in self._watched.values():
            watched.news.set()

    def _open(self, job_id: str) -> Watched:
        if job_id not in self._watched:
            self._watched[job_id] = Watched(Followed(self.store.folder(job_id) / "events.jsonl"))
        self._watched.move_to_end(job_id)
        return self._watched[job_id]

    def _forget(self) -> None:
        idle = [job_id for job_id, watched in self._watched.items() if not watched.pages]
        for job_id in idle[: max(0, len(idle) - KEPT)]:
            del self._watched[job_id]

    def _keep_ticking(self, job_id: str, watched: Watched) -> None:
        if watched.ticking is None or watched.ticking.done():
            watched.ticking = asyncio.create_task(self._tick(job_id, watched))

    async def _tick(self, job_id: str, watched: Watched) -> None:
        while watched.pages and not self._closed:
            await asyncio.sleep(INTERVAL)
            await self._look(job_id, watched)

    async def _look(self, job_id: str, watched: Watched) -> None:
        """Read what is new, off the event loop, and wake the pages if anything is."""
        async with watched.lock:
            before = watched.seen
            await asyncio.to_thread(self._read, job_id, watched)
            watched.looked = time.monotonic()
            if watched.seen != before:
                watched.made.clear()
                news, watched.news = watched.news, asyncio.Event()
                news.set()

    def _read(self, job_id: str, watched: Watched) -> None:
        artifacts = len(watched.followed.artifacts)
        job = self.store.get(job_id)  # first: what an ended worker wrote is then all there
        watched.unsaid |= watched.followed.read()
        waits_for = self._waits_for(job) if job and job.state == JobState.QUEUED else ()
        changed = (job, waits_for, artifacts) != (
            watched.job,
            watched.waits_for,
            len(watched.followed.artifacts),
        )
        if changed or not watched.row:
            watched.job, watched.waits_for = job, waits_for
            watched.row += 1
        if watched.unsaid and (changed or time.monotonic() - watched.said >= SAY):
            watched.unsaid, watched.said = False, time.monotonic()
            watched.say += 1

    def _waits_for(self, job: Job) -> tuple[str, ...]:
        token = ("token",) if self.scheduler.waits_for_token(job) else ()
        return (*(other.id for other in view.before(job, self.store)), *token)

    def _message(self, watched: Watched, language: str, seen: Seen) -> bytes:
        """What a page lacks that has `seen` so much; made once for all pages that lack the same."""
        key = (language, seen)
        if key not in watched.made:
            watched.made[key] = self._make(watched, language, seen)
        return watched.made[key]

    def _make(self, watched: Watched, language: str, seen: Seen) -> bytes:
        followed, job = watched.followed, watched.job
        if job is None:
            return _sse(0, {"gone": text(language, "ui.job.no_such")})
        events = followed.since(seen.offset)
        message = everything(language, followed) if events is None else news(language, events)
        waits = self.scheduler.waits_for_token(job)
        kinds = {type(event) for event in events or ()}
        if seen.row != watched.row or Environment in kinds:
            message["job"] = view.job(language, job, followed, self.store, waits)
        if seen.say != watched.say:
            message["say"] = charts.sentences(language, followed.series)
        if kinds & {Answer, Attempt}:
            message["answers"] = view.answers(language, followed)
        if events != [] or seen.row != watched.row:
            message["bar"] = view.bar(language, job, followed, waits)
        return _sse(followed.offset, message) if message else b""


def everything(language: str, followed: Followed) -> dict[str, Any]:
    """For a page that knows nothing, or nothing that is still true."""
    curves = {name: [[_short(x), _short(y)] for x, y in curve] for name, curve in followed.series.items()}
    return {
        "all": curves,
        "log": [_line(language, line) for line in followed.log],
        "answers": view.answers(language, followed),
    }


def news(language: str, events: list[Event]) -> dict[str, Any]:
    """Points and log lines of some events. Points that a later attempt takes back are not among them."""
    message: dict[str, Any] = {}
    points: list[list[Any]] = []
    for event in events:
        if isinstance(event, Attempt):
            message["cut"] = min(event.from_step, message.get("cut", event.from_step))
            points = [point for point in points if point[0] <= event.from_step]
        elif isinstance(event, Metrics):
            points.append(_point(event))
        if (line := log_line(event)) is not None:
            message.setdefault("log", []).append(_line(language, line))
    if points:
        message["pts"] = points
    return message


def _point(event: Metrics) -> list[Any]:
    values = finite(event)
    row = [event.step, *(_short(values[name]) if name in values else None for name in charts.METRICS)]
    while row[-1] is None:
        row.pop()
    return row


def _short(value: float) -> float:
    return value if isinstance(value, int) else float(f"{value:.5g}")


def _line(language: str, line: Line) -> list[Any]:
    level = line.level if isinstance(line, Log) else "info"
    return [int(line.time), level, wording.log_line(language, line)]


def _sse(offset: int, message: dict[str, Any]) -> bytes:
    return b"id: %d\ndata: %s\n\n" % (offset, orjson.dumps(message))


async def _within(news: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(news.wait(), seconds)
    except TimeoutError:
        return False
    return True
