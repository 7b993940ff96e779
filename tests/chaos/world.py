"""Where faults happen: a home folder on a disk of its own, the real `app.py`, its real workers."""

import itertools
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from qlora_ui.config import TrainConfig
from qlora_ui.failpoints import VARIABLE
from qlora_ui.jobs import JobStore
from qlora_ui.launchers.local import ROOT
from qlora_ui.ui.routes import BASE
from tests.chaos.verdict import finishes
from tests.waiting import until

DISK = "64m"  # of the home folder, where a tmpfs can be mounted
SNAPSHOTS = 10.0  # seconds between two copies of the database
YOUNG = 11.0  # seconds after which the app adopts a folder without a row


def environment() -> dict[str, str]:
    """What workers must share for their losses to be the same: one thread."""
    inherited = {name: value for name, value in os.environ.items() if "DISPLAY" not in name}
    return inherited | {"OMP_NUM_THREADS": "1", "QLORA_UI_HOST": "127.0.0.1", "LC_ALL": "C.UTF-8"}


class World:
    """A home with jobs. `within`: seconds in which each job's state must be true again; `waiting`: jobs that
    are to finish yet, after each start of the app, so that there is always work to disturb."""

    def __init__(self, folder: Path, within: float, waiting: int) -> None:
        self.home = folder / "home"
        self.within = within
        self.waiting = waiting
        self.jobs: dict[str, TrainConfig] = {}
        self.cuts: dict[str, int] = {}  # lines that a fault took from a job's events
        self.supply: Iterator[TrainConfig] = iter(())  # of new jobs
        self.failpoint = ""
        self._passed: set[str] = set()
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder / "app.log"
        self._snapshots: list[tuple[float, Path]] = []
        self._ended = threading.Event()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.origin = f"http://127.0.0.1:{probe.getsockname()[1]}"
        self.client = httpx.Client(base_url=self.origin, timeout=30, trust_env=False)
        self.home.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=700", "qlora-chaos", str(self.home)]
        self.own_disk = subprocess.run(mount, check=False, capture_output=True).returncode == 0

    # The app

    def start(self, failpoint: str = "") -> None:
        """`app.py`, up; a failpoint is for it and for the workers it starts."""
        own = {"QLORA_UI_HOME": str(self.home), "QLORA_UI_PORT": self.origin.rpartition(":")[2]}
        self.failpoint = own[VARIABLE] = failpoint
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "app.py"], cwd=ROOT, env=environment() | own,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        until(lambda: self._answers() or not self.app_lives() or self.passed(), "app.py does not answer", 120)

    def app(self) -> int:
        """Its pid."""
        assert self._process is not None
        return self._process.pid

    def app_lives(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def close_app(self) -> None:
        """As Ctrl-C does."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.send_signal(signal.SIGCONT)
            self._process.wait(60)

    def kill_app(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def arm(self, failpoint: str) -> None:
        """The app up, with this failpoint and no other, over enough jobs that are still to finish."""
        work = len(self.unfinished())
        if failpoint or self.failpoint or not self.app_lives() or not work:
            self.close_app()
            self.thaw()
            self._add(itertools.islice(self.supply, max(0, self.waiting - work)))
            self._passed = set(self.said("failpoint "))
            self.start(failpoint)

    def passed(self) -> int:
        """Pid of who passed the failpoint since the app was armed with it, 0 if nobody did."""
        for line in set(self.said("failpoint ")) - self._passed:
            pid = int(line.rpartition(" ")[2])
            if f" {self.failpoint}," in line:
                return pid
            send(pid, signal.SIGCONT)  # it was armed with an earlier one, and is late
        return 0

    def keep_busy(self) -> None:
        """While a fault's moment is awaited: a worker lives, or soon will."""
        if not self.processes()["worker"]:
            if not self.unfinished():
                self.arm(self.failpoint)
            self.resume_ended()

    def thaw(self) -> None:
        """Nobody stays frozen."""
        for pids in self.processes().values():
            for pid in pids:
                send(pid, signal.SIGCONT)

    def said(self, words: str) -> list[str]:
        """Lines with these words of the app's and the workers' output."""
        logs = [self._log, *self.home.glob("jobs/*/worker.log")]
        return [
            line
            for log in logs
            if log.exists()
            for line in log.read_text("utf-8", "replace").splitlines()
            if words in line
        ]

    def _answers(self) -> bool:
        try:
            return self.client.get(f"{BASE}/jobs", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    # Its jobs

    def _add(self, configs: Iterable[TrainConfig]) -> None:
        """Queue jobs, while the app is down: it is the store's only user otherwise."""
        store = JobStore(self.home)
        for config in configs:
            self.jobs[store.create(config).id] = config
        store.close()

    def folder(self, job_id: str) -> Path:
        return self.home / "jobs" / job_id

    def shown(self) -> dict[str, str]:
        """What the page shows of each job (its icon); nothing while it does not answer."""
        try:
            answer = self.client.get(f"{BASE}/jobs")
        except httpx.HTTPError:
            return {}
        rows = answer.json()["jobs"] if answer.status_code == 200 else []
        return {row["id"]: row["icon"] for row in rows}

    @contextmanager
    def database(self) -> Iterator[sqlite3.Connection]:
        """The app's, from outside."""
        db = sqlite3.connect(f"file:{self.home / 'jobs.db'}?mode=rw", uri=True, isolation_level=None)
        try:
            yield db
        finally:
            db.close()

    def unfinished(self) -> list[str]:
        return [job_id for job_id in self.jobs if not finishes(self.folder(job_id))]

    def resume_ended(self) -> None:
        """Press Resume at each job that ended without finishing, as a person would."""
        for job_id, icon in self.shown().items():
            if icon in ("failed", "stopped"):
                path = f"{BASE}/jobs/{job_id}/resume"
                with suppress(httpx.HTTPError):  # it may die of it
                    answer = self.client.post(path, json={}, headers={"origin": self.origin})
                    assert self.failpoint or answer.status_code == 200, f"Resume of {job_id}: {answer.text}"

    # The truth

    def processes(self, job_id: str = "") -> dict[str, list[int]]:
        """Living processes of all jobs or one: {"worker": pids, "parent": pids}."""
        found: dict[str, list[int]] = {"worker": [], "parent": []}
        jobs = str(self.folder(job_id) if job_id else self.home / "jobs")
        for pid, command in commands():
            if any(word.startswith(jobs) for word in command):
                kind = "parent" if any(word.endswith("parent.py") for word in command) else "worker"
                found[kind].append(pid)
        return found

    def untrue(self) -> list[str]:
        """What the page shows against what is: nothing of a job that is shown right."""
        shown = self.shown()
        assert self._workers() < 2 or self._workers() < 2, f"workers side by side: {self.processes()}"
        return [
            f"{job_id} is shown as {shown.get(job_id)} instead of {' or '.join(true)}"
            for job_id in self.jobs
            if shown.get(job_id) not in (true := self._true(job_id))
        ]

    def until_true(self) -> float:
        """Seconds until each state is true. Raises AssertionError when one is not in time."""
        began = time.monotonic()
        while wrong := self.untrue():
            written = max((self.folder(job_id) / "config.json").stat().st_mtime for job_id in self.jobs)
            young = time.time() - written < YOUNG
            assert time.monotonic() - began < self.within + YOUNG * young, "; ".join(wrong)
            time.sleep(0.05)
        return time.monotonic() - began

    def _true(self, job_id: str) -> tuple[str, ...]:
        running = self.processes(job_id)
        if running["worker"] or running["parent"]:
            return ("busy",)
        return ("done",) if finishes(self.folder(job_id)) else ("failed", "stopped", "waiting")

    def _workers(self) -> int:
        """How many live. One that is just starting another program looks like two, for an instant."""
        count = len(self.processes()["worker"])
        if count > 1:
            time.sleep(0.5)
        return count

    # The disk and the database

    def keep_snapshots(self) -> None:
        """Copy the database now and then, to have one of a minute ago."""
        threading.Thread(target=self._snapshot, daemon=True).start()

    def older_database(self) -> tuple[float, Path]:
        """Of a minute ago, or the oldest there is: its age in seconds, and the copy."""
        now = time.time()
        then, path = min(self._snapshots, key=lambda one: abs(now - one[0] - 60))
        return now - then, path

    def _snapshot(self) -> None:
        folder = self.home.parent / "snapshots"
        folder.mkdir()
        while not self._ended.wait(SNAPSHOTS if self._snapshots else 0.5):
            path = folder / f"{len(self._snapshots)}.db"
            with suppress(sqlite3.Error), self.database() as db, sqlite3.connect(path) as copy:
                db.backup(copy)
                self._snapshots.append((time.time(), path))

    # Its end

    def leftovers(self) -> list[str]:
        """Processes that were started for this home and live."""
        marks = f"QLORA_UI_HOME={self.home}".encode()
        found = []
        for pid, command in commands():
            with suppress(OSError):
                if marks in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                    found.append(f"{pid}: {' '.join(command)}")
        return found

    def close(self, kept: Path | None = None) -> None:
        """Nothing stays: processes, disk, folder; `kept` gets a copy of that."""
        self._ended.set()
        self.client.close()
        if self.app_lives():
            self.kill_app()
        for line in self.leftovers():
            send(int(line.partition(":")[0]), signal.SIGKILL)
        if kept:
            shutil.copytree(self.home, kept, ignore_dangling_symlinks=True)
        if self.own_disk:
            subprocess.run(["umount", "--lazy", str(self.home)], check=False)
        shutil.rmtree(self.home, ignore_errors=True)


def commands() -> Iterator[tuple[int, list[str]]]:
    """Living processes and their command lines."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with suppress(OSError):
                words = Path(entry.path, "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
                if words != [""]:  # a zombie has none
                    yield int(entry.name), words


def send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
