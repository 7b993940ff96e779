"""Runs workers on this machine, each in a session of its own that outlives the web process.

`session.<attempt>` in the job's folder holds the session's id and is locked (flock) for as long as the
session lives: its processes inherit the lock, taken before the first of them starts. So "does it live?" is
asked of the kernel. There is no moment between start and the worker's claim in which a second start could
slip in, no pid that could be somebody else's by now, and a restart of the machine leaves no lock.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from qlora_ui import owner
from qlora_ui.launchers import parent
from qlora_ui.launchers.base import Life, Poll

ROOT = Path(__file__).parents[2]
KEPT_BACK = ("QLORA_UI_PASSWORD",)  # the page's login is no business of a worker

# Children are the process's, not one launcher's: whoever polls next reaps them.
_children: list[subprocess.Popen[bytes]] = []


class LocalLauncher:
    """A handle is `ATTEMPT:FOLDER`."""

    def __init__(self, module: str = "qlora_ui.training") -> None:
        self.module = module

    def submit(self, folder: Path, attempt: int, env: Mapping[str, str]) -> str:
        """Start an attempt once, whoever asks how often. Raises OSError (disk full, no process to be had)."""
        handle = f"{attempt}:{folder.absolute()}"
        if self.reattach(folder, attempt) is None:
            fd = os.open(_session_file(folder, attempt), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                if _lock(fd):
                    self._start(folder.absolute(), attempt, env, fd)
            finally:
                os.close(fd)
        return handle

    def reattach(self, folder: Path, attempt: int) -> str | None:
        """The handle of an attempt that lives, ended or was overtaken; None if no worker ever began it."""
        claimed = owner.read(folder)
        begun = claimed is not None and claimed.attempt >= attempt
        if begun or _locked(folder, attempt) or _exit_file(folder, attempt).exists():
            return f"{attempt}:{folder.absolute()}"
        return None

    def poll(self, handles: Sequence[str]) -> dict[str, Poll]:
        """What became of each worker; reaps those that ended."""
        _children[:] = [child for child in _children if child.poll() is None]
        return {handle: _poll(*_parse(handle)) for handle in handles}

    def stop(self, handle: str, force: bool = False) -> None:
        """SIGTERM to the worker, by way of its parent; with `force` SIGKILL to all of the session."""
        folder, attempt = _parse(handle)
        if not _lives(folder, attempt):
            return
        session = _session(folder, attempt)
        if force:
            _kill_all(session, _worker(folder, attempt))
        elif (pid := session if session in parent.members(session) else _worker(folder, attempt)) > 0:
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                return  # ended just now

    def _start(self, folder: Path, attempt: int, env: Mapping[str, str], fd: int) -> None:
        command = [sys.executable, "-P", parent.__file__, self.module]
        # A file, never a pipe: nobody need read it for the worker to go on.
        with (folder / "worker.log").open("ab") as log:
            child = subprocess.Popen(
                [*command, str(folder), str(attempt), str(fd)],
                cwd=ROOT,
                env=_environment(env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[fd],
            )
        # The leader's pid is the session's id: known here at once, so that even a stop in the next
        # instant finds it. The parent writes the same, should this process end before this line.
        os.pwrite(fd, f"{child.pid}\n".encode(), 0)
        _children.append(child)


def _lock(fd: int) -> bool:
    """Lock a session file; False if a session has it. Somebody who only asks has it for an instant."""
    for _ in range(20):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.01)
    return False


def _environment(env: Mapping[str, str]) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if name not in KEPT_BACK}
    return {**own, "PYTHONUNBUFFERED": "1", **env}


def _poll(folder: Path, attempt: int) -> Poll:
    try:
        for _ in range(2):  # asked again, as it may write the file and end in between
            if (code := _exit_code(folder, attempt)) is not None:
                return Poll(Life.ENDED, code)
            if _lives(folder, attempt):
                return Poll(Life.RUNNING)
    except OSError:  # the disk does not answer
        return Poll(Life.UNREACHABLE)
    return Poll(Life.ENDED)


def _lives(folder: Path, attempt: int) -> bool:
    return _locked(folder, attempt) or _worker(folder, attempt) > 0


def _worker(folder: Path, attempt: int) -> int:
    """Pid of the attempt's living worker as it claimed the folder, 0 if there is none."""
    claimed = owner.read(folder)
    if claimed is None or claimed.attempt != attempt or not owner.alive(claimed):
        return 0
    return claimed.pid


def _locked(folder: Path, attempt: int) -> bool:
    """Whether a process of the session lives (or its start is under way)."""
    with _opened(_session_file(folder, attempt)) as fd:
        if fd is None:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def _session(folder: Path, attempt: int) -> int:
    """The session's id, 0 if not on record. Good while it is locked: a living session keeps its number."""
    with _opened(_session_file(folder, attempt)) as fd:
        record = os.pread(fd, 20, 0).decode().strip() if fd is not None else ""
    return int(record) if record.isdigit() else 0


def _kill_all(session: int, worker: int) -> None:
    """Kill a session, and the worker if it has one of its own; again for what was born meanwhile."""
    parent.kill([worker] if worker else [])
    for _ in range(5):
        if not session or not (pids := parent.members(session)):
            return
        parent.kill(pids)


@contextmanager
def _opened(path: Path) -> Iterator[int | None]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    try:
        yield fd
    finally:
        os.close(fd)


def _exit_code(folder: Path, attempt: int) -> int | None:
    try:
        code = json.loads(_exit_file(folder, attempt).read_bytes())["code"]
    except (FileNotFoundError, ValueError, KeyError):
        return None
    return int(code)


def _exit_file(folder: Path, attempt: int) -> Path:
    return folder / f"exit.{attempt}.json"


def _session_file(folder: Path, attempt: int) -> Path:
    return folder / f"session.{attempt}"


def _parse(handle: str) -> tuple[Path, int]:
    attempt, _, folder = handle.partition(":")
    return Path(folder), int(attempt)
