"""Keeps every open page up to date: one reader per job, asked once a second, shared by all pages that look.

A page is sent messages as server-sent events. Each message's id is the byte offset in events.jsonl up to
which the page then knows everything, so that it can come back after a lost connection, or to another server
process, and miss nothing and get nothing twice. What is in a message: `messages.py`.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from qlora_ui.events import Answer, Attempt, Environment
from qlora_ui.jobs import ACTIVE, Job, JobState, JobStore
from qlora_ui.scheduler import Scheduler
from qlora_ui.texts import text
from qlora_ui.ui import around, charts, messages, view, wording
from qlora_ui.ui.around import Around
from qlora_ui.ui.follow import Followed
from qlora_ui.ui.forecast import Forecast
from qlora_ui.ui.messages import sse

INTERVAL = 1.0  # seconds between two looks at a job's file
PING = 15.0  # seconds of silence after which a connection is shown to live
SAY = 5.0  # seconds between two sentences about a chart: a screen reader reads them
CHILDREN = 10.0  # seconds between two looks for jobs that go on from one
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
    around: Around = field(default_factory=Around)
    children: tuple[Job, ...] = ()
    asked: float = float("-inf")  # when the children were last asked for
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
        self.forecast = Forecast(store)
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
        starts = await self._starts(job_id)
        async with watched.lock:
            before = watched.seen
            await asyncio.to_thread(self._read, job_id, watched, starts)
            watched.looked = time.monotonic()
            if watched.seen != before:
                watched.made.clear()
                news, watched.news = watched.news, asyncio.Event()
                news.set()

    async def _starts(self, job_id: str) -> float | None:
        """When a queued job will start, so far as that is known."""
        job, active = await asyncio.to_thread(self._waiting, job_id)
        if job is None:
            return None
        left = [wording.left((await self.now(other.id))[1]) for other in active]
        return await asyncio.to_thread(self._forecast_of, job, left)

    def _waiting(self, job_id: str) -> tuple[Job | None, list[Job]]:
        """The job, if it waits for its turn, and those that run."""
        job = self.store.get(job_id)
        if job is None or job.state is not JobState.QUEUED or job.held or self.scheduler.paused:
            return None, []
        return job, self.store.all(ACTIVE)

    def _forecast_of(self, job: Job, left: list[float | None]) -> float | None:
        slots = len(self.scheduler.gpus()) or 1
        starts = self.forecast.starts(around.in_line(job, self.scheduler), left, slots)
        return starts and round(starts / 60) * 60.0  # shown by the minute, sent when that changes

    def _read(self, job_id: str, watched: Watched, starts: float | None) -> None:
        before = _shown_with_row(watched.followed)
        job = self.store.get(job_id)  # first: what an ended worker wrote is then all there
        watched.unsaid |= watched.followed.read()
        if job and time.monotonic() - watched.asked > CHILDREN:
            watched.asked = time.monotonic()
            watched.children = around.descendants(job, self.scheduler)
        now = (
            around.look(job, self.scheduler, starts, watched.children, watched.followed) if job else Around()
        )
        after = _shown_with_row(watched.followed)
        changed = (job, now, before) != (watched.job, watched.around, after)
        if changed or not watched.row:
            watched.job, watched.around = job, now
            watched.row += 1
        if watched.unsaid and (changed or time.monotonic() - watched.said >= SAY):
            watched.unsaid, watched.said = False, time.monotonic()
            watched.say += 1

    def _message(self, watched: Watched, language: str, seen: Seen) -> bytes:
        """What a page lacks that has `seen` so much; made once for all pages that lack the same."""
        key = (language, seen)
        if key not in watched.made:
            watched.made[key] = self._make(watched, language, seen)
        return watched.made[key]

    def _make(self, watched: Watched, language: str, seen: Seen) -> bytes:
        followed, job = watched.followed, watched.job
        if job is None:
            return sse(0, {"gone": text(language, "ui.job.no_such")})
        events = followed.since(seen.offset)
        message = (
            messages.everything(language, followed) if events is None else messages.news(language, events)
        )
        kinds = {type(event) for event in events or ()}
        if seen.row != watched.row or Environment in kinds:
            message["job"] = view.job(language, job, followed, watched.around, self.store)
        if seen.say != watched.say:
            message["say"] = charts.sentences(language, followed.series)
        if kinds & {Answer, Attempt}:
            message["answers"] = view.answers(language, followed)
        if events != [] or seen.row != watched.row:
            message["bar"] = view.bar(language, job, followed, watched.around.waits_for_token)
        return sse(followed.offset, message) if message else b""


def _shown_with_row(followed: Followed) -> object:
    """What the job's part of a message says of its events."""
    return (tuple(followed.artifacts.values()), followed.before)


async def _within(news: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(news.wait(), seconds)
    except TimeoutError:
        return False
    return True
