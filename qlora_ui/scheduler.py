"""Starts queued jobs, follows running ones, and is the only place where a job's state changes.

`tick()` looks at the store, the launcher and the job folders, and nothing else: whatever line of it the web
process died in, the next tick, of this process or another, goes on from there.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Literal

from qlora_ui import attempts, hardware, owner
from qlora_ui.adoption import Folders
from qlora_ui.config import TrainConfig
from qlora_ui.failpoints import failpoint
from qlora_ui.jobs import ACTIVE, ENDED, Job, JobState, JobStore
from qlora_ui.launchers.base import Launcher, Life, Poll
from qlora_ui.outcome import again, outcome

INTERVAL = 1.0  # seconds between two looks
PAUSE = "pause"  # `after_stop`: back into the queue

log = logging.getLogger(__name__)


def free_devices() -> list[str]:
    """Devices of this machine, a job each: GPU indices, the one with most room first, or "" for the CPU."""
    gpus = sorted(hardware.gpus(), key=lambda gpu: gpu.free, reverse=True)
    return [str(gpu.index) for gpu in gpus] or [""]


class Scheduler:
    """One thread that ticks, and what a person asks for: submit, stop, pause, resume, another order."""

    def __init__(
        self, store: JobStore, launcher: Launcher, devices: Callable[[], list[str]] = free_devices
    ) -> None:
        self.store = store
        self.launcher = launcher
        self._devices = devices
        self._tokens: dict[str, str] = {}  # in memory only: in no file, log or event
        self._folders = Folders(store, launcher)
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="scheduler", daemon=True)

    def start(self) -> None:
        """Tick from now on, in a thread."""
        # The last web process may have died before it passed a stop on: say it again.
        for job in self.store.all([JobState.STOPPING]):
            if job.handle:
                self.launcher.stop(job.handle)
        self._thread.start()

    def close(self) -> None:
        """End the thread. Jobs go on."""
        self._closed = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def submit(self, config: TrainConfig, token: str = "") -> Job:
        """Queue a job, last; `token` is for its model or data on the Hub. Raises OSError on a full disk,
        UserError `parent_without_adapter`."""
        with self._lock:  # no tick between the row and its token
            job = self.store.create(config, needs_token=bool(token))
            if token:
                self._tokens[job.id] = token
        self._wake.set()
        return job

    def resume(self, job_id: str, overrides: dict[str, Any] | None = None, token: str = "") -> bool:
        """Queue a stopped or failed job again, last, or let a paused one start; the worker goes on from what
        was saved. `overrides` are added to the job's. False for any other job. Raises
        pydantic.ValidationError for overrides that a config would not take."""
        with self._lock:
            job = self.store.get(job_id)
            if job is None or not (job.held or job.state in (JobState.STOPPED, JobState.FAILED)):
                return False
            merged = {**job.overrides, **(overrides or {})}
            job.config.overridden(merged)
            if token:
                self._tokens[job.id] = token
            fields = {"overrides": merged, "needs_token": job.needs_token or bool(token), "held": False}
            if job.state in ENDED:
                fields |= {"position": self.store.last(), "device": ""}
                fields |= dict.fromkeys(("error", "started", "ended")) | {"reason": ""}
            resumed = self.store.move(job.id, JobState.QUEUED, [job.state], **fields)
        self._wake.set()
        return resumed

    def waits_for_token(self, job: Job) -> bool:
        """Whether a queued job was given a token that this web process does not have."""
        return job.state is JobState.QUEUED and job.needs_token and job.id not in self._tokens

    def give_token(self, job_id: str, token: str) -> None:
        """Give a waiting job its token again."""
        self._tokens[job_id] = token
        self._wake.set()

    def stop(self, job_id: str) -> bool:
        """Cancel a queued job; ask a running one to save and end; asked again, kill it. False if ended."""
        with self._lock:
            job = self.store.get(job_id)
            if job is None or job.state in ENDED:
                return False
            if job.state is JobState.QUEUED:
                reason = "user" if job.attempt else "cancelled"
                self._end(job, JobState.STOPPED, reason=reason, ended=time.time())
            else:
                self._ask_to_end(job)
        self._wake.set()
        return True

    def pause(self, job_id: str) -> bool:
        """Hold a queued job back; ask a running one to save, end, and wait first in the queue until it is
        resumed. False for one that is stopping, paused or ended."""
        with self._lock:
            job = self.store.get(job_id)
            if job is None or job.held or job.state in (JobState.STOPPING, *ENDED):
                return False
            if job.state is JobState.QUEUED:
                self.store.move(job.id, job.state, [job.state], held=True)
            else:
                self._ask_to_end(job, PAUSE)
        self._wake.set()
        return True

    def move(self, job_id: str, way: Literal["up", "down"]) -> bool:
        """Let a queued job change places with the one before or after it. False where there is none."""
        with self._lock:
            return self.store.shift(job_id, way)

    @property
    def paused(self) -> bool:
        """Whether the queue is: nothing new starts."""
        return self.store.paused

    def pause_queue(self, on: bool) -> None:
        """Start nothing new from now on, or start again. What runs, runs on."""
        with self._lock:
            self.store.paused = on
        self._wake.set()

    def gpus(self) -> list[hardware.Gpu]:
        """The GPUs, with the memory that programs other than our jobs hold."""
        owners = [owner.read(self.store.folder(job.id)) for job in self.store.all(ACTIVE)]
        return hardware.gpus(ours=[one.pid for one in owners if one is not None])

    def tick(self) -> None:
        """Bring every job's state up to what is true, and start what can start."""
        with self._lock:
            for job in self.store.all(ACTIVE):
                if not job.handle:
                    self._recover(job)
            self._follow()
            self._folders.look(lambda: [*self._free(), *self._devices()][0])
            self._start_queued()

    def _run(self) -> None:
        said = ""
        while not self._closed:
            self._wake.clear()
            try:
                self.tick()
                said = ""
            except Exception as error:  # a full disk, a locked database: the next tick tries again
                if said != repr(error):  # once, not each second
                    said = repr(error)
                    log.exception("the scheduler's tick failed and is tried again")
            self._wake.wait(INTERVAL)

    def _start_queued(self) -> None:
        if self.store.paused:
            return
        queued = [job for job in self.store.queue() if not job.held and not self.waits_for_token(job)]
        for job, device in zip(queued, self._free() if queued else [], strict=False):
            # Written first: should this process die now, the next one finds the attempt and asks for it.
            now = {"attempt": job.attempt + 1, "device": device, "started": time.time()}
            if self.store.move(job.id, JobState.STARTING, [JobState.QUEUED], **now):
                self._launch(job.id)

    def _free(self) -> list[str]:
        devices = self._devices()
        busy = {job.device for job in self.store.all(ACTIVE)}
        if devices == [""]:
            return [] if busy else devices
        return [device for device in devices if device not in busy]

    def _launch(self, job_id: str) -> None:
        job = self.store.get(job_id)
        assert job is not None
        env = {"CUDA_VISIBLE_DEVICES": job.device, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"} if job.device else {}
        if token := self._tokens.get(job.id):
            env["HF_TOKEN"] = token
        failpoint("launch")  # before the worker is started, and before that is on record
        try:
            attempts.write(self.store.folder(job.id), job.attempt, job.overrides)
            handle = self.launcher.submit(self.store.folder(job.id), job.attempt, env)
        except (OSError, ValueError) as error:  # ValueError: a token that fits no environment
            reason = {
                "key": "cannot_start",
                "values": {"reason": getattr(error, "strerror", "") or str(error)},
            }
            self._end(job, JobState.FAILED, error=reason, ended=time.time())
        else:
            failpoint("launch")
            self.store.move(job.id, JobState.RUNNING, [JobState.STARTING], handle=handle)

    def _recover(self, job: Job) -> None:
        """A web process died between writing `starting` and the handle: never start twice, never forget."""
        handle = self.launcher.reattach(self.store.folder(job.id), job.attempt)
        if handle is not None:
            if job.state is JobState.STOPPING:
                self.store.move(job.id, job.state, [job.state], handle=handle)
                self.launcher.stop(handle)
            else:
                self.store.move(job.id, JobState.RUNNING, [JobState.STARTING], handle=handle)
        elif job.state is JobState.STOPPING:
            self._end(job, JobState.STOPPED, reason="user", ended=time.time())  # there is nobody to stop
        elif job.needs_token and job.id not in self._tokens:
            self.store.move(job.id, JobState.QUEUED, [JobState.STARTING], device="", started=None)
        else:
            self._launch(job.id)

    def _follow(self) -> None:
        jobs = [job for job in self.store.all(ACTIVE) if job.handle]
        polls = self.launcher.poll([job.handle for job in jobs]) if jobs else {}
        for job in jobs:
            poll = polls.get(job.handle)
            if poll is not None and poll.life in (Life.ENDED, Life.LOST):
                self._ended(job, poll)

    def _ended(self, job: Job, poll: Poll) -> None:
        """A worker has: that was the job's end, or its next attempt starts by itself."""
        folder = self.store.folder(job.id)
        asked = job.state is JobState.STOPPING
        added = None if asked and job.after_stop != PAUSE else again(folder, job.attempt, poll)
        if added is not None:
            self._put_back(job, added)
        else:
            state, fields = outcome(folder, job.attempt, poll.code, asked)
            self._end(job, state, **fields)

    def _end(self, job: Job, state: JobState, **fields: Any) -> None:
        if state is JobState.STOPPED and job.after_stop == PAUSE:
            self._put_back(job, {})
            return
        self.store.move(job.id, state, [job.state], handle="", held=False, after_stop="", **fields)
        if state is JobState.FINISHED:
            self._tokens.pop(job.id, None)

    def _put_back(self, job: Job, overrides: dict[str, Any]) -> None:
        """First in the queue again; held there if that was a pause."""
        fields = {"overrides": {**job.overrides, **overrides}, "held": job.after_stop == PAUSE}
        now = {"position": self.store.first(), "handle": "", "device": "", "after_stop": "", "started": None}
        self.store.move(job.id, JobState.QUEUED, [job.state], **fields, **now)

    def _ask_to_end(self, job: Job, after: str = "") -> None:
        """Save and end; one that was asked before is killed."""
        self.store.move(job.id, JobState.STOPPING, [job.state], after_stop=after)
        if job.handle:  # else the next tick finds out whether there is anything to stop
            self.launcher.stop(job.handle, force=job.state is JobState.STOPPING)
