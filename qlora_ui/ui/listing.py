"""The list of all jobs as its page is sent it, and the little that every page asks for."""

import asyncio
import time
from typing import Any

from qlora_ui.jobs import ACTIVE, ENDED, Job
from qlora_ui.texts import text
from qlora_ui.texts.quantities import size
from qlora_ui.ui import view, wording
from qlora_ui.ui.follow import Followed
from qlora_ui.ui.live import Live
from qlora_ui.ui.sizes import Sizes

RECENT = 900.0  # seconds for which a job that ended is still told to pages that may have missed it
MOST = 50  # of them
WAIT = 0.1  # seconds that a list waits for sizes; what is not measured by then comes with the next one


class JobList:
    """Rows of jobs; those of ended ones are made once."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self.store = live.store
        self.scheduler = live.scheduler
        self.sizes = Sizes(live.store)
        self._rows: dict[tuple[str, str], tuple[object, dict[str, Any]]] = {}
        self._ended: tuple[float, list[Job]] = (float("-inf"), [])

    async def whole(self, language: str) -> dict[str, Any]:
        """What works, what waits in the order in which it starts, what has ended, newest first."""
        jobs, queue = await asyncio.to_thread(lambda: (self.store.all(), self.store.queue()))
        await self.sizes.measure(jobs, WAIT)
        active = [job for job in jobs if job.state in ACTIVE]
        ended = sorted((job for job in jobs if job.state in ENDED), key=lambda job: -job.created)
        rows = [await self._moving(language, job) for job in active]
        starting = [job.id for job in queue if not job.held]  # a paused one takes no place
        for at, job in enumerate(queue):
            ends = {"place": at + 1, "first": at == 0, "last": at == len(queue) - 1}
            row = await self._moving(language, job)
            if not job.held:
                row["line"] = row["line"] or text(language, "ui.jobs.place", place=starting.index(job.id) + 1)
            rows.append({**row, **ends})
        rows += [self._still(language, job) for job in ended]
        self._drop({job.id for job in jobs})
        total = text(language, "ui.jobs.total", size=size(self.sizes.total())) if jobs else ""
        return {"jobs": rows, "paused": self.scheduler.paused, "total": total}

    async def now(self, language: str) -> dict[str, Any]:
        """Jobs that work or wait, and those that ended a moment ago, by id: what a title and an icon say."""
        live, ended = await asyncio.to_thread(
            lambda: ([*self.store.all(ACTIVE), *self.store.queue()], self._just_ended())
        )
        found = {}
        for job in live:
            followed = await self._followed(job)
            waits = self.scheduler.waits_for_token(job)
            found[job.id] = {
                "name": wording.name(language, job),
                "state": wording.state(language, job, followed.doing(job) if followed else None, waits),
                "icon": wording.icon(job, waits),
                "share": wording.share(job, followed) if followed else 0,
            }
        for job in ended:
            found[job.id] = {
                "name": wording.name(language, job),
                "state": wording.state(language, job),
                "icon": wording.icon(job),
                "share": 1,
                "ended": True,
            }
        running = sum(job.state in ACTIVE for job in live)
        said = text(language, "ui.jobs.count_running", count=running) if running else ""
        return {"running": said, "jobs": found}

    def _just_ended(self) -> list[Job]:
        asked, jobs = self._ended
        if time.monotonic() - asked > 1:  # many pages ask
            since = time.time() - RECENT
            jobs = [job for job in self.store.all(ENDED) if (job.ended or 0) > since]
            jobs = sorted(jobs, key=lambda job: job.ended or 0)[-MOST:]
            self._ended = (time.monotonic(), jobs)
        return jobs

    async def _moving(self, language: str, job: Job) -> dict[str, Any]:
        waits = self.scheduler.waits_for_token(job)
        return view.row(language, job, await self._followed(job), waits, self.sizes.of(job))

    async def _followed(self, job: Job) -> Followed | None:
        """The events of a job that has any."""
        return (await self.live.now(job.id))[1] if job.state in ACTIVE or job.attempt else None

    def _still(self, language: str, job: Job) -> dict[str, Any]:
        taken = self.sizes.of(job)
        key, state = (language, job.id), (job, taken)
        if key not in self._rows or self._rows[key][0] != state:
            self._rows[key] = (state, view.row(language, job, None, False, taken))
        return self._rows[key][1]

    def _drop(self, there: set[str]) -> None:
        for key in [key for key in self._rows if key[1] not in there]:
            del self._rows[key]
