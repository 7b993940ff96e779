"""Who owns a job's folder: the newest attempt's worker. Imported before anything heavy, by every process.

`owner` names the worker by pid, start ticks and boot id, never by wall-clock times: a pid is reused, a clock
is set back, a machine restarts.
"""

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

EXIT_FINISHED = 0
EXIT_FAILED = 1
EXIT_OUT_OF_MEMORY = 12  # errno's ENOMEM
EXIT_STOPPED = 130  # as a shell says of a program ended by Ctrl-C

LENGTH = 200  # the record is padded: one write replaces the one before, and no reader sees half of it


@dataclass(frozen=True, slots=True)
class Owner:
    """One worker process on one machine. `ticks`: its start, in clock ticks after the machine's."""

    attempt: int
    pid: int
    ticks: int
    boot: str


def claim(folder: Path, attempt: int) -> bool:
    """Make this process the folder's owner; False if that attempt or a newer one already was. The worker's
    first act."""
    fd = os.open(folder / "owner", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        before = _parse(os.pread(fd, LENGTH, 0))
        if before is not None and before.attempt >= attempt:
            return False
        pid = os.getpid()
        record = json.dumps(asdict(Owner(attempt, pid, start_ticks(pid) or 0, boot_id())))
        os.pwrite(fd, record.ljust(LENGTH - 1).encode() + b"\n", 0)
        return True
    finally:
        os.close(fd)


def read(folder: Path) -> Owner | None:
    """The owner on record, or None where no worker ever began."""
    try:
        return _parse((folder / "owner").read_bytes())
    except FileNotFoundError:
        return None


def superseded(folder: Path, attempt: int) -> bool:
    """Whether a newer attempt owns the folder: the older one's worker then touches nothing more."""
    owner = read(folder)
    return owner is not None and owner.attempt > attempt


def alive(owner: Owner) -> bool:
    """Whether that very process lives: not a later one with its pid, not one of before a restart."""
    return owner.boot == boot_id() and owner.ticks == start_ticks(owner.pid)


def start_ticks(pid: int) -> int | None:
    """When a living process started (field 22 of /proc/PID/stat); None for one that is gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat[stat.rindex(")") + 2 :].split()  # the name before it may hold spaces and brackets
    return None if fields[0] in "ZX" else int(fields[19])


def boot_id() -> str:
    """Names this start of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


def _parse(record: bytes) -> Owner | None:
    try:
        return Owner(**json.loads(record))
    except (ValueError, TypeError):
        return None
