"""What is done to the world, each at a moment that chance picks. The same seed gives the same list."""

import os
import random
import re
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from tests.chaos.world import World, send
from tests.waiting import until

PATIENCE = 300  # seconds until a fault's moment has come
ENDS = 20  # seconds in which whoever met it ends, if it does
# Places that the app passes, and those that a worker does; its acts, and the most passings till then.
APP = {"launch": (("kill", "kill", "full"), 2), "update": (("kill", "kill", "stop", "full"), 6)}
WORKER = {
    "append": (("kill", "kill", "full", "stop"), 300),
    "save": (("kill", "kill", "full", "stop"), 14),
    "rename": (("kill", "kill", "full", "stop"), 14),
}


@dataclass(frozen=True)
class Fault:
    """`make` waits for its moment, acts, and undoes what would not go by itself; what it did, in words."""

    kind: str
    make: Callable[[World], str]
    failpoint: str = ""


def faults(dice: random.Random, count: int, own_disk: bool) -> list[Fault]:
    """At least half at failpoints; each kind, and each place, once before any comes again."""
    kinds = [kind for kind in OTHERS if own_disk or kind != "disk full"]
    others = [*dice.sample(kinds, len(kinds)), *dice.choices(kinds, k=count)][: count * 9 // 20]
    names = [*APP, *WORKER]
    places = [*dice.sample(names, len(names)), *dice.choices(names, k=count)][: count - len(others)]
    full = "save" if not own_disk else ""  # the place that stands for a full disk then
    chosen = [_other(kind, dice) for kind in others]
    chosen += [_at_failpoint(dice, name, "full" if name == full else "") for name in places]
    dice.shuffle(chosen)
    return chosen


def _at_failpoint(dice: random.Random, name: str, must: str) -> Fault:
    acts, most = (APP | WORKER)[name]
    setting = f"{name}:{dice.randint(1, most)}:{must or dice.choice(acts)}"
    seconds = dice.uniform(1, 4)
    return Fault("failpoint", lambda world: _passed(world, seconds), setting)


def _passed(world: World, seconds: float) -> str:
    """Wait until a process passed the failpoint and what follows from it came about."""
    until(lambda: world.passed() or world.keep_busy(), f"{world.failpoint} is not passed", PATIENCE, 0.2)
    pid = world.passed()
    who = "app" if pid == world.app() else "worker"
    if world.failpoint.endswith("stop"):
        time.sleep(seconds)
        send(pid, signal.SIGCONT)
        return f"{who} frozen for {seconds:.0f} s"
    with suppress(AssertionError):  # a full disk: the app goes on, and a worker may
        until(lambda: not _lives(world, pid), seconds=ENDS, every=0.1)
    return f"{who} {'goes on' if _lives(world, pid) else 'ended'}"


def _other(kind: str, dice: random.Random) -> Fault:
    make, seconds, delay = OTHERS[kind], dice.uniform(2, 5), dice.uniform(0, 6)
    return Fault(kind, lambda world: make(world, delay, seconds))


def kill_worker(world: World, delay: float, seconds: float) -> str:
    job_id, pid = _worker(world, delay)
    send(pid, signal.SIGKILL)
    return f"killed: {_doing(world, job_id)}"


def kill_app(world: World, delay: float, seconds: float) -> str:
    job_id, _ = _worker(world, delay)
    world.kill_app()
    return f"killed, worker {_doing(world, job_id)}"


def kill_both(world: World, delay: float, seconds: float) -> str:
    """As a power cut does: nobody is left to write down how it ended."""
    job_id, _ = _worker(world, delay)
    world.kill_app()
    living = world.processes()
    for pid in (*living["parent"], *living["worker"]):
        send(pid, signal.SIGKILL)
    return f"killed with the worker's parent, worker {_doing(world, job_id)}"


def stop_worker(world: World, delay: float, seconds: float) -> str:
    job_id, pid = _training(world, delay)
    return f"{_frozen(world, pid, seconds)}: {_doing(world, job_id)}"


def stop_app(world: World, delay: float, seconds: float) -> str:
    """Frozen while its worker is killed."""
    _, pid = _worker(world, delay)
    send(world.app(), signal.SIGSTOP)
    send(pid, signal.SIGKILL)
    time.sleep(seconds)
    send(world.app(), signal.SIGCONT)
    return f"frozen for {seconds:.0f} s, its worker killed meanwhile"


def fill_disk(world: World, delay: float, seconds: float) -> str:
    job_id, _ = _training(world, delay)
    ballast = world.home / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 4096)
    with suppress(AssertionError):
        until(lambda: not world.processes(job_id)["worker"], "", 2 * seconds)
    ends = "goes on" if world.processes(job_id)["worker"] else "ended"
    ballast.unlink()
    return f"full, worker {ends}: {_doing(world, job_id)}"


def cut_events(world: World, delay: float, seconds: float) -> str:
    """The worker dies, and the last line it wrote is there in part."""
    job_id, pid = _worker(world, delay)
    send(pid, signal.SIGKILL)
    until(lambda: not world.processes(job_id)["parent"], "its parent does not end")
    path = world.folder(job_id) / "events.jsonl"
    data = path.read_bytes()
    last = data.rfind(b"\n", 0, -1) + 1
    os.truncate(path, last + (len(data) - last) // 2)
    world.cuts[job_id] = world.cuts.get(job_id, 0) + 1
    return f"cut after byte {last + (len(data) - last) // 2} of {len(data)}"


def lock_database(world: World, delay: float, seconds: float) -> str:
    """Held by somebody else while the worker is killed."""
    job_id, pid = _worker(world, delay)
    with world.database() as db:
        db.execute("BEGIN IMMEDIATE")
        send(pid, signal.SIGKILL)
        time.sleep(seconds + 2)
        db.execute("ROLLBACK")
    return f"locked for {seconds + 2:.0f} s, worker killed: {_doing(world, job_id)}"


def restore_database(world: World, delay: float, seconds: float) -> str:
    _worker(world, delay)
    world.kill_app()
    age, path = world.older_database()
    for name in ("jobs.db", "jobs.db-wal", "jobs.db-shm"):
        (world.home / name).unlink(missing_ok=True)
    shutil.copyfile(path, world.home / "jobs.db")
    return f"of {age:.0f} s ago"


OTHERS: dict[str, Callable[[World, float, float], str]] = {
    "worker killed": kill_worker,
    "app killed": kill_app,
    "both killed": kill_both,
    "worker frozen": stop_worker,
    "app frozen": stop_app,
    "disk full": fill_disk,
    "events cut": cut_events,
    "database locked": lock_database,
    "database copied back": restore_database,
}


def _worker(world: World, delay: float) -> tuple[str, int]:
    """A job whose worker lives, some time after that worker was found: its id and the worker's pid."""
    for seconds in (delay, 0):
        until(lambda: world.processes()["worker"] or world.keep_busy(), "no worker begins", PATIENCE, 0.2)
        time.sleep(seconds)
    for job_id in world.jobs:
        if pids := world.processes(job_id)["worker"]:
            return job_id, pids[0]
    return _worker(world, 0)  # it ended just now


def _training(world: World, delay: float) -> tuple[str, int]:
    """One that is past its start, which is the longer part of so short a job."""
    until(lambda: _doing(world, _worker(world, 0)[0]).startswith("at step"), "none trains", PATIENCE, 0.2)
    return _worker(world, delay / 3)


def _frozen(world: World, pid: int, seconds: float) -> str:
    send(pid, signal.SIGSTOP)
    time.sleep(seconds)
    send(pid, signal.SIGCONT)
    return f"frozen for {seconds:.0f} s"


def _lives(world: World, pid: int) -> bool:
    return world.app_lives() if pid == world.app() else pid in world.processes()["worker"]


def _doing(world: World, job_id: str) -> str:
    """The last phase or step that a job told."""
    events = world.folder(job_id) / "events.jsonl"
    lines = events.read_bytes().splitlines() if events.exists() else []
    for line in reversed(lines):
        if found := re.search(rb'"event": "(?:metrics", "step": (\d+)|phase", "name": "(\w+))', line):
            return f"at step {found[1].decode()}" if found[1] else found[2].decode().replace("_", " ")
    return "starting"
