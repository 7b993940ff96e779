"""The worker as a process: how it ends when it is stopped, killed off, or fails, and what it leaves."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from qlora_ui import attempts, checkpoints, owner
from qlora_ui.config import TrainConfig
from qlora_ui.events import Answer, Artifact, Attempt, Event, EventReader, Failure, Log, Metrics, Phase
from qlora_ui.training.worker import Worker
from tests.training.conftest import Run, job_folder

DEADLINE = 90  # seconds for anything a worker is waited for


class Process:
    """A worker that runs, and what it has told so far."""

    def __init__(self, folder: Path, attempt: int = 1) -> None:
        self.folder = folder
        self.log = (folder / "worker.log").open("ab")
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "qlora_ui.training", str(folder), "--attempt", str(attempt)],
            stdout=self.log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        )

    def events(self) -> list[Event]:
        return list(EventReader(self.folder / "events.jsonl").read())

    def told(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events() if isinstance(event, kind)]

    def wait_until(self, happened: Callable[[Event], bool]) -> None:
        deadline = time.monotonic() + DEADLINE
        while not any(happened(event) for event in self.events()):
            assert self.popen.poll() is None, (self.folder / "worker.log").read_text("utf-8")
            assert time.monotonic() < deadline, self.events()
            time.sleep(0.02)

    def ended(self) -> int:
        return self.popen.wait(DEADLINE)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    running: list[Process] = []

    def begin(job: TrainConfig | Process, attempt: int = 1) -> Process:
        """A new job, or another attempt at one."""
        folder = job.folder if isinstance(job, Process) else job_folder(tmp_path, job)
        running.append(Process(folder, attempt))
        return running[-1]

    yield begin
    for process in running:
        process.popen.kill()
        process.popen.wait()
        process.log.close()


def long(config: TrainConfig, **changes: Any) -> TrainConfig:
    """A job that would run for hours."""
    changes = {"num_train_epochs": 1000.0, "eval_steps": 0.5, **changes}
    return config.model_copy(update={"trainer": config.trainer.model_copy(update=changes)})


def test_stopped_while_it_trains_it_keeps_the_adapter(
    start: Callable[..., Process], tiny_config: TrainConfig, tiny_model: Path
) -> None:
    process = start(long(tiny_config))
    process.wait_until(lambda event: isinstance(event, Metrics) and event.step >= 3)
    began = time.monotonic()
    process.popen.send_signal(signal.SIGTERM)
    assert process.ended() == owner.EXIT_STOPPED
    assert time.monotonic() - began < 10
    checkpoint, artifact = process.told(Artifact)
    assert artifact.step >= 3
    assert (checkpoint.kind, checkpoint.path) == ("checkpoint", f"checkpoints/step-{artifact.step}")
    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), process.folder / "adapter")
    assert {answer.step for answer in process.told(Answer)} == {0, artifact.step}
    assert [event.key for event in process.told(Log)][-1] == "stopping"
    assert not process.told(Failure)
    assert not list(process.folder.glob("*.reserve"))


def test_stopped_and_killed_it_goes_on_where_it_was(
    start: Callable[..., Process], tiny_config: TrainConfig
) -> None:
    """By SIGKILL in mid-training, with a checkpoint after each step; by Stop; to the end."""
    changes = {"keep.checkpoint_minutes": 1e-6, "trainer.eval_steps": 1000}
    first = start(tiny_config.overridden({**changes, "trainer.num_train_epochs": 1000}))
    first.wait_until(lambda event: isinstance(event, Metrics) and event.step >= 5)
    first.popen.kill()
    assert first.ended() == -signal.SIGKILL
    reached = max(event.step for event in first.told(Metrics))

    second = start(first, attempt=2)
    second.wait_until(lambda event: isinstance(event, Metrics) and event.step >= reached + 3)
    folder = second.folder
    began = time.monotonic()
    second.popen.send_signal(signal.SIGTERM)
    assert second.ended() == owner.EXIT_STOPPED
    assert time.monotonic() - began < 10
    *_, resumed = second.told(Attempt)
    assert reached - 1 <= resumed.from_step <= reached  # the last step's may not have been whole yet
    newest = checkpoints.latest(folder)
    adapter = [event for event in second.told(Artifact) if event.kind == "adapter"][-1]
    assert newest and newest.step == adapter.step > reached
    assert not list(folder.glob("checkpoints/*.part"))

    attempts.write(folder, 3, {"trainer.max_steps": newest.step + 2})
    third = start(second, attempt=3)
    assert third.ended() == owner.EXIT_FINISHED
    assert list(Run(folder, third.events()).curve("loss")) == list(range(1, newest.step + 3))


def test_stopped_while_libraries_load_it_ends_at_once(
    start: Callable[..., Process], tiny_config: TrainConfig
) -> None:
    process = start(long(tiny_config))
    process.wait_until(lambda event: isinstance(event, Phase) and event.name == "starting")
    process.popen.send_signal(signal.SIGTERM)
    assert process.ended() == owner.EXIT_STOPPED
    assert not process.told(Metrics) and not process.told(Failure)
    assert not (process.folder / "adapter").exists()


def test_stopped_before_the_first_step_it_says_that_there_is_nothing_to_keep(
    start: Callable[..., Process], tiny_config: TrainConfig
) -> None:
    """A step of a thousand rows: the stop comes between two of its bins."""
    batch = tiny_config.batch.model_copy(update={"rows_per_step": 4096})
    config = long(tiny_config, num_train_epochs=1.0).model_copy(update={"batch": batch})
    process = start(config)
    process.wait_until(lambda event: isinstance(event, Phase) and event.name == "training")
    process.popen.send_signal(signal.SIGTERM)
    assert process.ended() == owner.EXIT_STOPPED
    assert not process.told(Metrics)
    assert [event.key for event in process.told(Log)][-1] == "nothing_to_keep"
    assert not (process.folder / "adapter").exists()


def test_a_loss_that_is_no_number_ends_it_with_the_step(
    start: Callable[..., Process], tiny_config: TrainConfig, tiny_model: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(tiny_model, broken)
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"][0] = float("nan")
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    model = tiny_config.model.model_copy(update={"name_or_path": str(broken)})
    process = start(tiny_config.model_copy(update={"model": model}))
    assert process.ended() == owner.EXIT_FAILED
    (failure,) = process.told(Failure)
    assert (failure.key, failure.values["step"]) == ("loss_not_finite", 1)
    assert failure.values["rows"].split(", ")[0].isdigit()
    assert "UserError" in failure.traceback
    assert not (process.folder / "adapter").exists()


def test_what_is_wrong_with_the_data_is_told_before_the_model_is_loaded(
    start: Callable[..., Process], tiny_config: TrainConfig, tmp_path: Path
) -> None:
    path = tmp_path / "broken.jsonl"
    path.write_text('{"prompt": "a", "completion": "b"}\n{"prompt": \n', "utf-8")
    dataset = tiny_config.dataset.model_copy(update={"path": str(path), "name": "broken.jsonl"})
    process = start(tiny_config.model_copy(update={"dataset": dataset}))
    assert process.ended() == owner.EXIT_FAILED
    (failure,) = process.told(Failure)
    assert (failure.key, failure.values["line"]) == ("row_unreadable", 2)
    assert "loading_model" not in {phase.name for phase in process.told(Phase)}


def test_a_disk_that_takes_nothing_ends_it(
    start: Callable[..., Process], tiny_config: TrainConfig, tmp_path: Path
) -> None:
    (tmp_path / "jobs").mkdir()
    folder = job_folder(tmp_path, tiny_config)
    (folder / "events.jsonl").symlink_to("/dev/full")
    process = Process(folder)
    assert process.ended() == owner.EXIT_FAILED
    process.log.close()
    assert "No space left on device" in (folder / "worker.log").read_text("utf-8")


def test_the_last_word_finds_the_place_kept_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # the tests keep their own
    worker = Worker(tmp_path, 1)
    worker.listen()
    assert (tmp_path / "events.reserve").stat().st_size > 10_000
    worker.fail("disk_full", {"folder": "x"}, "Traceback")
    assert not (tmp_path / "events.reserve").exists()
    *_, last = EventReader(tmp_path / "events.jsonl").read()
    assert isinstance(last, Failure) and last.key == "disk_full"
    worker.end()


def test_a_second_worker_of_the_same_attempt_ends(
    start: Callable[..., Process], tiny_config: TrainConfig
) -> None:
    first = start(long(tiny_config))
    first.wait_until(lambda event: isinstance(event, Phase))
    second = Process(first.folder)
    assert second.ended() == owner.EXIT_FAILED
    second.log.close()
    assert len([event for event in first.events() if isinstance(event, Attempt)]) == 1


def test_a_worker_that_was_overtaken_touches_nothing_more(
    start: Callable[..., Process], tiny_config: TrainConfig
) -> None:
    process = start(long(tiny_config))
    process.wait_until(lambda event: isinstance(event, Metrics))
    record = json.loads((process.folder / "owner").read_bytes())
    newer = json.dumps({**record, "attempt": 2}).ljust(owner.LENGTH - 1) + "\n"
    (process.folder / "owner").write_text(newer, "ascii")
    assert process.ended() == owner.EXIT_FAILED
    assert not process.told(Failure)
    assert not (process.folder / "adapter").exists()
