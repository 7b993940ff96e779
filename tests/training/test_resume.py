"""A job that was interrupted ends as if it never had been: the same loss at every step."""

from pathlib import Path
from typing import Any

import pytest

from qlora_ui import attempts, checkpoints
from qlora_ui.config import TrainConfig
from qlora_ui.events import Artifact, Attempt, Log
from qlora_ui.training.order import StepOrder
from tests.training.conftest import Killed, Run, attempt_here, job_folder

EXACT = 1e-6  # the issue asks for 1e-4
ROUNDING = 2e-2  # of other matrix shapes, where bf16 computes; measured: 2e-3 there, 1e-6 in float32


@pytest.fixture(scope="module")
def config(tiny_config: TrainConfig) -> TrainConfig:
    """Steps of several bins, an epoch that ends in a smaller step, dropout, an evaluation now and then."""
    return tiny_config.overridden(
        {
            "lora.lora_dropout": 0.1,
            "batch.max_length": 64,
            "batch.rows_per_step": 8,
            "trainer.learning_rate": 2e-3,
            "trainer.num_train_epochs": 2,
            "trainer.eval_steps": 3,
            "trainer.per_device_train_batch_size": 2,
        }
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture(scope="module")
def whole(config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Uninterrupted."""
    return attempt_here(job_folder(tmp_path_factory.mktemp("whole"), config), 1)


def assert_same(run: Run, whole: Run, tolerance: float = EXACT) -> None:
    for name in ("loss", "eval_loss", "learning_rate", "grad_norm"):
        expected = whole.curve(name)
        found = run.curve(name)
        assert found.keys() == expected.keys(), name
        assert found == pytest.approx(expected, abs=tolerance), name


def often(config: TrainConfig, **changes: Any) -> TrainConfig:
    """A checkpoint after every step."""
    return config.overridden({"keep.checkpoint_minutes": 1e-6, **changes})


def from_steps(run: Run) -> list[int]:
    return [event.from_step for event in run.told(Attempt)]


def micro_batches(run: Run) -> int:
    """Of an epoch."""
    packed = next(event for event in run.told(Log) if event.key == "packed").values
    return len(StepOrder(packed["bins"], packed["per_step"], 2, 0))


def test_killed_in_the_middle_of_an_epoch(home: Path, config: TrainConfig, whole: Run) -> None:
    folder = job_folder(home, often(config))
    killed = attempt_here(folder, 1, Killed, 12)
    assert not (folder / "adapter").exists()
    resumed = attempt_here(folder, 2)
    assert from_steps(resumed)[1] == max(killed.curve("loss"))
    assert_same(resumed, whole)
    assert "resumed" in resumed.keys


def test_killed_right_after_an_epoch(home: Path, config: TrainConfig, whole: Run) -> None:
    """There the trainer draws a random number, to begin the next one."""
    folder = job_folder(home, often(config))
    attempt_here(folder, 1, Killed, micro_batches(whole) + 1)
    run = attempt_here(folder, 2)
    assert from_steps(run) == [0, max(whole.curve("loss")) // 2]
    assert_same(run, whole)


def test_stopped_twice_in_a_row(home: Path, config: TrainConfig, whole: Run) -> None:
    """After an evaluation, and in the middle of a step: right after it began again, and in the next epoch."""
    folder = job_folder(home, config)
    attempt_here(folder, 1, at=10)
    attempt_here(folder, 2, at=2)
    attempt_here(folder, 3, at=micro_batches(whole))
    run = attempt_here(folder, 4)
    assert len(set(from_steps(run))) == 3
    assert_same(run, whole)
    assert run.keys.count("stopping") == 3


def test_stopped_in_the_middle_of_an_evaluation(home: Path, config: TrainConfig, whole: Run) -> None:
    """It is done again, and its loss is that of the checkpoint."""
    folder = job_folder(home, config)
    attempt_here(folder, 1, at=1, phase="evaluating")
    stopped = checkpoints.latest(folder)
    assert stopped and stopped.loss is None
    attempt_here(folder, 2, Killed, 1)
    again = checkpoints.latest(folder)
    assert again and again.step == stopped.step and again.loss == whole.curve("eval_loss")[again.step]
    assert_same(attempt_here(folder, 3), whole)


def test_half_the_micro_batch_makes_the_same_steps(home: Path, config: TrainConfig) -> None:
    """Without dropout, whose masks follow the shape of a batch: then only rounding differs."""
    config = config.overridden({"lora.lora_dropout": 0.0})
    whole = attempt_here(job_folder(home, config), 1)
    folder = job_folder(home, config)
    attempt_here(folder, 1, at=12)
    attempts.write(folder, 2, {attempts.MICRO_BATCH: 1})
    assert_same(attempt_here(folder, 2), whole, ROUNDING)


def test_each_checkpoint_is_told_and_the_last_two_and_the_best_stay(whole: Run) -> None:
    steps = [artifact.step for artifact in whole.told(Artifact) if artifact.kind == "checkpoint"]
    assert steps == sorted(whole.curve("eval_loss"))
    left = checkpoints.whole(whole.folder)
    losses = whole.curve("eval_loss")
    best = min(losses, key=lambda step: losses[step])
    assert {one.step for one in left} == {*steps[-2:], best}
    assert all(one.loss == losses[one.step] for one in left)
    assert all(checkpoints.intact(one) for one in left)
    assert not list(whole.folder.rglob("*.bin")) and not list(whole.folder.rglob("*.part"))
