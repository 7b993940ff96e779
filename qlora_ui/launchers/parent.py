"""Waits for one worker and writes how it ended: exit code or signal, for a page that starts later, too, and
the memory of its last minute, for a worker that the kernel killed can say nothing itself.

`python parent.py MODULE FOLDER ATTEMPT FD`, started by `local.py` as the leader of a session of its own.
Standard library only: it lives as long as the worker and costs a few megabytes.
"""

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from types import FrameType
from typing import Any

LENGTH = 4096  # of the exit file, in bytes: a block of the disk
INTERVAL = 1.0  # seconds between two looks at the memory, 0.1 ms each
SAMPLES = 60
CGROUPS = Path("/sys/fs/cgroup")
FILES = {  # of both versions of cgroups: limit, use, details, kills
    "": ("memory.max", "memory.current", "memory.stat", "memory.events"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat", "memory.oom_control"),
}


class Memory:
    """What the worker used and what was free, second by second; whether the kernel killed for memory since
    this was made. Bytes."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._cgroup = _cgroup()
        self._kills = self._count_kills()
        self._samples: deque[tuple[float, int, int]] = deque(maxlen=SAMPLES)

    def look(self, pid: int) -> None:
        if pages := re.match(r"\d+ (\d+)", _read(f"/proc/{pid}/statm")):
            used = int(pages[1]) * os.sysconf("SC_PAGE_SIZE")
            self._samples.append((time.monotonic(), used, self._available()))

    def told(self, peak: int) -> dict[str, Any]:
        """For the exit file. `peak` is the most that the worker ever used."""
        now = time.monotonic()
        samples = [[round(when - now), used, available] for when, used, available in self._samples]
        return {"oom_kill": self._count_kills() > self._kills, "peak": peak, "memory": samples}

    def _available(self) -> int:
        """This machine's, or its container's where that is less."""
        machine = _number(r"MemAvailable: +(\d+)", _read("/proc/meminfo")) * 1024
        if not self._cgroup:
            return machine
        limit, used, details = (_read(path) for path in self._cgroup[:3])
        if not limit.strip().isdigit():
            return machine
        # What was read from files and is not in use counts as used, and is given up when needed.
        free = int(limit) - int(used or 0) + _number(r"^inactive_file (\d+)", details)
        return max(0, min(machine, free))

    def _count_kills(self) -> int:
        """By the kernel, in our cgroup; where there is none, on this machine."""
        told = _read(self._cgroup[3]) if self._cgroup else ""
        return _number(r"^oom_kill (\d+)", told or _read("/proc/vmstat"))


def _cgroup() -> list[Path]:
    """The four files of our memory cgroup, none where it has no such files."""
    for line in _read("/proc/self/cgroup").splitlines():
        _, kind, path = line.split(":", 2)
        for folder in (path.lstrip("/"), ""):  # in a container its own is the top
            found = [CGROUPS / kind / folder / name for name in FILES.get(kind, ())]
            if found and "oom_kill " in _read(found[3]):
                return found
    return []


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text("ascii", "replace")
    except OSError:
        return ""


def _number(pattern: str, text: str) -> int:
    match = re.search(pattern, text, re.MULTILINE)
    return int(match[1]) if match else 0


class Worker:
    """The one child. A SIGTERM to this process is passed on, one that comes before the child exists, too."""

    def __init__(self) -> None:
        self._asked = 0
        # A signal ends `select`: SIGCHLD is noticed at once, without asking again and again.
        self._signals, writes = os.pipe()
        for end in (self._signals, writes):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(writes, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def _ask(self, signum: int, frame: FrameType | None) -> None:
        self._asked += 1

    def run(self, command: list[str], fd: int, memory: Memory) -> tuple[int, int]:
        """Exit code, or minus the signal that killed it, and the most memory it used. It inherits `fd`, the
        session's lock."""
        process = subprocess.Popen(command, pass_fds=[fd])
        passed_on = 0
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                process.returncode = os.waitstatus_to_exitcode(status)
                return process.returncode, usage.ru_maxrss * 1024
            while passed_on < self._asked:
                os.kill(process.pid, signal.SIGTERM)  # not reaped: the pid is still its own
                passed_on += 1
            if select.select([self._signals], [], [], INTERVAL)[0]:
                os.read(self._signals, LENGTH)
            else:
                memory.look(process.pid)


def members(session: int) -> list[int]:
    """Living processes of a session, its leader too."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                stat = Path(entry.path, "stat").read_text("utf-8", "replace")
            except (FileNotFoundError, ProcessLookupError):
                continue
            state, _, _, its_session = stat[stat.rindex(")") + 2 :].split()[:4]
            if state not in "ZX" and int(its_session) == session:
                found.append(int(entry.name))
    return found


def kill(pids: list[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def main(module: str, folder: Path, attempt: int, fd: int) -> None:
    worker = Worker()
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    # Its place on the disk is taken now: a worker that fills the disk must not hide how it ended.
    part = folder / f"exit.{attempt}.json.part"
    part.write_bytes(b" " * LENGTH)
    memory = Memory()
    command = [sys.executable, "-m", module, str(folder), "--attempt", str(attempt)]
    code, peak = worker.run(command, fd, memory)
    kill([pid for pid in members(os.getpid()) if pid != os.getpid()])  # what the worker left behind
    record = json.dumps({"attempt": attempt, "code": code, **memory.told(peak)})
    with part.open("r+b") as file:
        file.write(record.ljust(LENGTH - 1).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(folder / f"exit.{attempt}.json")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
