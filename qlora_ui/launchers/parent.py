"""Waits for one worker and writes how it ended: exit code or signal, for a page that starts later, too.

`python parent.py MODULE FOLDER ATTEMPT FD`, started by `local.py` as the leader of a session of its own.
Standard library only: it lives as long as the worker and costs a few megabytes.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

LENGTH = 80


class Worker:
    """The one child. A SIGTERM that comes before it exists is kept and forwarded when it does."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.asked = False

    def stop(self, signum: int = 0, frame: FrameType | None = None) -> None:
        self.asked = True
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)

    def run(self, command: list[str], fd: int) -> int:
        """Exit code, or minus the signal that killed it. The worker inherits `fd`, the session's lock."""
        self.process = subprocess.Popen(command, pass_fds=[fd])
        if self.asked:
            self.stop()
        return self.process.wait()


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
    signal.signal(signal.SIGTERM, worker.stop)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    # Its place on the disk is taken now: a worker that fills the disk must not hide how it ended.
    part = folder / f"exit.{attempt}.json.part"
    part.write_bytes(b" " * LENGTH)
    code = worker.run([sys.executable, "-m", module, str(folder), "--attempt", str(attempt)], fd)
    kill([pid for pid in members(os.getpid()) if pid != os.getpid()])  # what the worker left behind
    with part.open("r+b") as file:
        file.write(json.dumps({"attempt": attempt, "code": code}).ljust(LENGTH - 1).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(folder / f"exit.{attempt}.json")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
