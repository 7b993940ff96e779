"""The web process killed at any line of the scheduler's tick: the next brings all to the same end."""

import shutil
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from types import FrameType
from typing import Any

from qlora_ui import attempts, owner
from qlora_ui.config import TrainConfig, Trainer
from qlora_ui.folders import write_folder
from qlora_ui.jobs import Job
from tests.fake_launcher import Home

PACKAGE = str(Path(attempts.__file__).parent)


class Killed(BaseException):
    """The web process dies here."""


def killed_at(number: int, act: Callable[[], None]) -> bool:
    """Do it, but die before the line of our code that is executed as the `number`-th; False if it has
    fewer."""
    left = number

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        if event == "line":
            left -= 1
            if left == 0:
                raise Killed
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        act()
    except Killed:
        return True
    finally:
        sys.settrace(before)
    return False


def prepare(path: Path) -> tuple[Home, list[Job]]:
    """A home in which one tick has everything to do: ends, a retry, a pause, starts, an adoption."""
    home = Home(path, ["0", "1", "2", "3"])
    eight = TrainConfig(trainer=Trainer(per_device_train_batch_size=8))
    jobs = [home.scheduler.submit(config) for config in (TrainConfig(), eight, TrainConfig(), TrainConfig())]
    home.scheduler.tick()
    jobs += [home.scheduler.submit(TrainConfig()) for _ in range(2)]
    home.scheduler.pause(jobs[2].id)
    for job, code in zip(jobs, (0, owner.EXIT_OUT_OF_MEMORY, owner.EXIT_STOPPED, -9), strict=False):
        home.launcher.end(home.job(job), code)
    stray = home.store.folder("trained")
    write_folder(stray, TrainConfig())
    home.launcher.submit(stray, 1, {})
    return home, jobs


def reached(home: Home, jobs: list[Job]) -> list[tuple[object, ...]]:
    """What matters of each job, and how often each attempt was started."""
    found = [job for job in (home.store.get("trained"), *map(home.job, jobs)) if job]
    states = [(job.state, job.reason, job.attempt, job.held, job.overrides, job.error) for job in found]
    devices = sorted(job.device for job in found if job.handle)
    return [*states, (devices, len(home.launcher.starts) - len(set(home.launcher.starts)))]


def opened(before: Home, path: Path) -> Home:
    """A copy of a home, whose database need not survive a power cut."""
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(before.path, path)
    home = Home(path, before.devices)
    home.launcher = deepcopy(before.launcher)
    home.restart()
    home.store._db.execute("PRAGMA synchronous = OFF")
    return home


def test_killed_at_any_line_of_a_tick(tmp_path: Path) -> None:
    prepared, jobs = prepare(tmp_path / "prepared")
    prepared.store.close()
    home = opened(prepared, tmp_path / "undisturbed")
    home.scheduler.tick()
    undisturbed = reached(home, jobs)
    home.store.close()
    assert [state for state, *_ in undisturbed[:-1]] == [
        "running", "finished", "running", "queued", "failed", "running", "running",
    ]  # fmt: skip
    number, lived = 0, False
    while not lived:
        number += 1 + number % 25  # one line in thirteen; all 1,900 take a minute, and held, too
        home = opened(prepared, tmp_path / "home")
        lived = not killed_at(number, home.scheduler.tick)
        home.restart()
        home.scheduler.tick()
        assert reached(home, jobs) == undisturbed, f"killed at line {number} of the tick"
        home.store.close()
    assert number > 1000
