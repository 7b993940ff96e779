"""Jobs that were started without the page, or that the database, lost or put back from a copy, does not know
of: the folders are right, and its rows follow them."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qlora_ui import attempts, owner
from qlora_ui.jobs import ACTIVE, Job, JobState, JobStore
from qlora_ui.launchers.base import Launcher, Life
from qlora_ui.outcome import last_attempt, outcome

YOUNG = 10.0  # seconds: somebody may be about to start a worker in a folder that changed so lately

log = logging.getLogger(__name__)


class Folders:
    """Looks into the folders that changed since it last did."""

    def __init__(self, store: JobStore, launcher: Launcher) -> None:
        self._store = store
        self._launcher = launcher
        self._looked: dict[str, float] = {}  # when those that need no other look had last changed

    def look(self, device: Callable[[], str]) -> None:
        """Make and correct rows; `device` names one for a worker that runs."""
        now = self._store.folders()
        changed = [job_id for job_id, when in now.items() if self._looked.get(job_id) != when]
        known = self._store.ids() if changed else set()
        for job_id in changed:
            young = time.time() - now[job_id] < YOUNG
            try:
                if job_id not in known:
                    self._adopt(job_id, young, device)
                elif job := self._store.get(job_id):
                    if job.state in ACTIVE:
                        continue  # another look once it has ended
                    self._catch_up(job, device)
            except (OSError, ValueError) as error:
                log.warning("%s is passed over: %s", self._store.folder(job_id), error)
                young = False
            if not young:
                self._looked[job_id] = now[job_id]

    def _adopt(self, job_id: str, young: bool, device: Callable[[], str]) -> None:
        """A row, with the true state, for a folder that has none. Raises OSError or ValueError for a folder
        that is no job's."""
        folder = self._store.folder(job_id)
        written = (folder / "config.json").stat().st_mtime
        found = self._found(folder, last_attempt(folder) or 1, device)
        if found is not None:
            state, fields = found
            self._store.adopt(job_id, state, **{"created": written, "started": written, **fields})
        elif not young:  # not queued again by itself: it may have been cancelled
            self._store.adopt(job_id, JobState.STOPPED, created=written, reason="interrupted", ended=written)

    def _catch_up(self, job: Job, device: Callable[[], str]) -> None:
        """A newer attempt began in the folder than the row knows of."""
        folder = self._store.folder(job.id)
        attempt = last_attempt(folder)
        if attempt > job.attempt and (found := self._found(folder, attempt, device)):
            state, fields = found
            new = {"held": False, "error": None, "reason": "", "ended": None, **fields}
            self._store.move(job.id, state, [job.state], **new)

    def _found(
        self, folder: Path, attempt: int, device: Callable[[], str]
    ) -> tuple[JobState, dict[str, Any]] | None:
        """State and fields of an attempt that nobody here started; None if no worker ever began it."""
        handle = self._launcher.reattach(folder, attempt)
        if handle is None:
            return None
        fields: dict[str, Any] = {"attempt": attempt, "overrides": attempts.overrides(folder, attempt)}
        poll = self._launcher.poll([handle])[handle]
        if poll.life not in (Life.ENDED, Life.LOST):
            return JobState.RUNNING, {**fields, "handle": handle, "device": device()}
        # Nobody here asked it to stop: whoever ran it did.
        state, ended = outcome(folder, attempt, poll.code, asked=poll.code == owner.EXIT_STOPPED)
        return state, {**fields, **ended}
