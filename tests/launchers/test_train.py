"""`python -m qlora_ui train` on real processes, in a pipe and on a terminal."""

import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qlora_ui import attempts
from qlora_ui.config import TrainConfig, Trainer
from qlora_ui.launchers.base import Life
from qlora_ui.launchers.local import ROOT, LocalLauncher
from tests.sessions import end_sessions
from tests.waiting import until

EIGHT = Trainer(per_device_train_batch_size=8)


class Trains:
    """A `train` under way."""

    def __init__(self, home: Path, name: str, stdout: int, resume: str = "", **env: str) -> None:
        config = home / "config.json"
        config.write_text(TrainConfig(name=name, trainer=EIGHT).model_dump_json())
        what = ["--resume", resume] if resume else [str(config)]
        self.home = home
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.launchers.start_train", "train", *what, "--home", home],
            cwd=ROOT,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            env={**os.environ, "LC_ALL": "en_US.UTF-8", **env},
        )

    @property
    def folder(self) -> Path:
        until(lambda: [*self.home.glob("jobs/[!.]*/config.json")])  # a hidden one is on its way in
        return next(self.home.glob("jobs/[!.]*"))

    def until_it_trains(self) -> None:
        events = self.folder / "events.jsonl"
        until(lambda: events.exists() and b'"training"' in events.read_bytes())

    def output(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.read().decode()


@contextmanager
def train(
    home: Path, name: str, stdout: int = subprocess.PIPE, resume: str = "", **env: str
) -> Iterator[Trains]:
    trains = Trains(home, name, stdout, resume, **env)
    try:
        yield trains
    finally:
        end_sessions(home)
        trains.process.kill()
        trains.process.wait()
        if trains.process.stdout is not None:
            trains.process.stdout.close()


def test_finished(tmp_path: Path) -> None:
    with train(tmp_path, "finish") as trains:
        said = trains.output()
        assert trains.process.wait() == 0
        assert "Step 5 of 5: loss 0.2" in said
        assert "before: five�[2J\n  after:  four" in said, "what a model says does not steer the terminal"
        assert f"The adapter is in {trains.folder / 'adapter'} (7 B)." in said
        assert said.rstrip().endswith("Finished")
        assert not (tmp_path / "jobs.db").exists()


def test_failed_in_chinese(tmp_path: Path) -> None:
    with train(tmp_path, "fail", LC_ALL="zh_CN.UTF-8") as trains:
        said = trains.output()
        assert trains.process.wait() == 1
        assert "磁盘" in said and "/somewhere" in said and "Traceback" not in said
        assert str(trains.folder / "worker.log") in said


def test_killed_from_outside(tmp_path: Path) -> None:
    with train(tmp_path, "deaf") as trains:
        trains.until_it_trains()
        os.kill(int((trains.folder / "owner").read_text().split('"pid": ')[1].split(",")[0]), signal.SIGKILL)
        assert "killed from outside" in trains.output()
        assert trains.process.wait() == 1


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_and_stops(tmp_path: Path, signum: int) -> None:
    with train(tmp_path, "wait") as trains:
        trains.until_it_trains()
        trains.process.send_signal(signum)
        said = trains.output()
        assert trains.process.wait() == 130
        assert "Saving and stopping" in said and "The adapter is in" in said
        assert said.rstrip().endswith("Stopped by you")


def test_a_second_ctrl_c_kills(tmp_path: Path) -> None:
    with train(tmp_path, "deaf") as trains:
        trains.until_it_trains()
        trains.process.send_signal(signal.SIGINT)
        assert trains.process.stdout is not None
        until(lambda: b"Saving" in trains.process.stdout.readline())  # type: ignore[union-attr]
        trains.process.send_signal(signal.SIGINT)
        assert trains.process.wait() == 130
        handle = f"1:{trains.folder}"
        assert LocalLauncher().poll([handle])[handle].life is Life.ENDED


def test_a_closed_terminal_leaves_the_job_running(tmp_path: Path) -> None:
    with train(tmp_path, "wait") as trains:
        trains.until_it_trains()
        trains.process.send_signal(signal.SIGHUP)
        trains.process.wait()
        handle = f"1:{trains.folder}"
        assert LocalLauncher().poll([handle])[handle].life is Life.RUNNING
        (trains.folder / "go").touch()
        until(lambda: LocalLauncher().poll([handle])[handle].code == 0)


def test_a_bar_on_a_terminal(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    with train(tmp_path, "finish", stdout=theirs) as trains:
        os.close(theirs)
        said = b""
        while chunk := _read(ours):
            said += chunk
        os.close(ours)
        assert trains.process.wait() == 0
        assert b"5/5" in said and b"loss=0.2" in said and b"\r" in said
        assert b"Step 5 of 5" not in said


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # its other end is closed: the program ended
        return b""


def test_out_of_memory_is_tried_again_with_less(tmp_path: Path) -> None:
    with train(tmp_path, "hungry") as trains:
        said = trains.output()
        assert trains.process.wait() == 0
        assert "with 4 packs" in said and "with 2 packs" in said and said.rstrip().endswith("Finished")
        assert said.count("Step 5 of 5") == 1
        assert (trains.folder / "begun").read_text().split() == ["1", "2", "3"]
        assert attempts.config(trains.folder, 3).trainer.per_device_train_batch_size == 2


def test_a_stopped_job_is_resumed(tmp_path: Path) -> None:
    with train(tmp_path, "wait") as first:
        first.until_it_trains()
        first.process.send_signal(signal.SIGINT)
        assert first.process.wait() == 130
        job = first.folder
    (job / "go").touch()
    with train(tmp_path, "wait", resume=job.name) as second:
        said = second.output()
        assert second.process.wait() == 0
        assert "Step 5 of 5" in said and said.count("The adapter is in") == 1, "not what is old"
        assert (job / "begun").read_text().split() == ["1", "2"]
        assert [*tmp_path.glob("jobs/*")] == [job]


def test_nobody_reads_any_more(tmp_path: Path) -> None:
    """`train … | head -1`: the job goes on, and the exit code is the job's."""
    with train(tmp_path, "wait") as trains:
        assert trains.process.stdout is not None
        trains.process.stdout.readline()
        trains.process.stdout.close()
        trains.until_it_trains()
        LocalLauncher().stop(f"1:{trains.folder}")
        assert trains.process.wait() == 130
