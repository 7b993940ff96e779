"""Starts queued jobs, follows running ones, and is the only place where a job's state changes.

`tick()` looks at the store, the launcher and the job folders, and nothing else: whatever line of it the web
process died in, the next tick, of this process or another, goes on from there.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from qlora_ui import hardware, owner
from qlora_ui.config import TrainConfig
from qlora_ui.failpoints import failpoint
from qlora_ui.jobs import ACTIVE, ENDED, Job, JobState, JobStore
from qlora_ui.launchers.base import Launcher, Life
from qlora_ui.outcome import last_attempt, outcome

INTERVAL = 1.0  # seconds between two looks
YOUNG = (
    10.0  # seconds: a folder without a worker may be one that `python -m qlora_ui train` is about to start
)

log = logging.getLogger(__name__)


def free_devices() -> list[str]:
    """Devices of this machine, a job each: GPU indices, the one with most room first, or "" for the CPU."""
    gpus = sorted(hardware.gpus(), key=lambda gpu: gpu.free, reverse=True)
    return [str(gpu.index) for gpu in gpus] or [""]


class Scheduler:
    """One thread that ticks, and what a person asks for: submit, stop, give a token."""

    def __init__(
        self, store: JobStore, launcher: Launcher, devices: Callable[[], list[str]] = free_devices
    ) -> None:
        self.store = store
        self.launcher = launcher
        self._devices = devices
        self._tokens: dict[str, str] = {}  # in memory only: in no file, log or event
        self._skipped: set[str] = set()  # folders that hold no job
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
        """Queue a job; `token` is for its model or data on the Hub. Raises OSError on a full disk."""
        with self._lock:  # no tick between the row and its token
            job = self.store.create(config, needs_token=bool(token))
            if token:
                self._tokens[job.id] = token
        self._wake.set()
        return job

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
                self._end(job, JobState.STOPPED, reason="cancelled", ended=time.time())
            else:
                self.store.move(job.id, JobState.STOPPING, [job.state])
                if job.handle:  # else the next tick finds out whether there is anything to stop
                    self.launcher.stop(job.handle, force=job.state is JobState.STOPPING)
        self._wake.set()
        return True

    def gpus(self) -> list[hardware.Gpu]:
        """The GPUs, with the memory that programs other than our jobs hold."""
        owners = [owner.read(self.store.folder(job.id)) for job in self.store.all(ACTIVE)]
        return hardware.gpus(ours=[one.pid for one in owners if one is not None])

    def tick(self) -> None:
        """Bring every job's state up to what is true, and start what can start."""
        with self._lock:
            for job_id in self.store.unknown():
                if job_id not in self._skipped:
                    self._try_to_adopt(job_id)
            for job in self.store.all(ACTIVE):
                if not job.handle:
                    self._recover(job)
            self._follow()
            self._start_queued()

    def _run(self) -> None:
        while not self._closed:
            self._wake.clear()
            try:
                self.tick()
            except Exception:  # a full disk, a locked database: the next tick tries again
                log.exception("the scheduler's tick failed")
            self._wake.wait(INTERVAL)

    def _start_queued(self) -> None:
        queued = [job for job in self.store.all([JobState.QUEUED]) if not self.waits_for_token(job)]
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
            self._end(job, JobState.STOPPED, reason="user", ended=time.time())
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
                asked = job.state is JobState.STOPPING
                state, fields = outcome(self.store.folder(job.id), job.attempt, poll.code, asked)
                self._end(job, state, **fields)

    def _end(self, job: Job, state: JobState, **fields: Any) -> None:
        self.store.move(job.id, state, [job.state], handle="", **fields)
        self._tokens.pop(job.id, None)

    def _try_to_adopt(self, job_id: str) -> None:
        try:
            self._adopt(job_id)
        except (OSError, ValueError) as error:
            log.warning("%s is passed over: %s", self.store.folder(job_id), error)
            self._skipped.add(job_id)

    def _adopt(self, job_id: str) -> None:
        """A row, with the true state, for a folder that has none: started without the page, or from before
        the database was lost. Raises OSError or ValueError for a folder that is no job's."""
        folder = self.store.folder(job_id)
        written = (folder / "config.json").stat().st_mtime
        fields: dict[str, Any] = {"created": written, "started": written}
        attempt = last_attempt(folder) or 1
        handle = self.launcher.reattach(folder, attempt)
        if handle is not None:
            poll = self.launcher.poll([handle])[handle]
            if poll.life is Life.ENDED:
                # Nobody here asked it to stop: whoever ran it did.
                state, ended = outcome(folder, attempt, poll.code, asked=poll.code == owner.EXIT_STOPPED)
                fields |= {"attempt": attempt, **ended}
            else:
                state = JobState.RUNNING
                fields |= {"attempt": attempt, "handle": handle, "device": self._devices()[0]}
        elif time.time() - written < YOUNG:
            return
        else:  # not queued again by itself: it may have been cancelled
            state, fields = JobState.STOPPED, {"created": written, "reason": "interrupted", "ended": written}
        self.store.adopt(job_id, state, **fields)
