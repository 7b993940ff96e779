"""A training that goes off the rails ends before it spoils what was learned."""

import math
from pathlib import Path
from typing import Any

import pytest

from qlora_ui import attempts, checkpoints
from qlora_ui.config import TrainConfig
from qlora_ui.errors import UserError
from qlora_ui.texts import LANGUAGES, error_text
from qlora_ui.training.guard import LossGuard
from qlora_ui.training.trainer import PackedTrainer
from tests.training.conftest import attempt_here, job_folder

GOOD, BAD = 1.0, 9.0  # guessing among 400 costs 6


class Scaler:
    """Stands in for torch's GradScaler, which needs a GPU."""

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def get_scale(self) -> float:
        return self.scale


def steps(guard: LossGuard, *losses: float, gradient: float = 1.0, scaler: Any = None) -> None:
    for number, loss in enumerate(losses, 1):
        guard.micro_batch(loss / 2, [2 * number], number)
        guard.micro_batch(loss / 2, [2 * number + 1], number)
        guard.before_update(gradient, scaler, number)


def test_three_steps_in_a_row_that_are_worse_than_guessing() -> None:
    guard = LossGuard(400)
    steps(guard, GOOD, BAD, BAD, GOOD, BAD, BAD)
    assert not guard.healthy
    with pytest.raises(UserError) as caught:
        steps(guard, BAD)
    assert caught.value.key == "loss_exploded"
    assert caught.value.values == {"step": 1, "loss": "9.0", "rows": "2, 3"}
    assert all(all(error_text(language, "loss_exploded", caught.value.values)) for language in LANGUAGES)


def test_a_model_that_never_knew_better_may_learn() -> None:
    guard = LossGuard(400)
    steps(guard, *[BAD] * 10, GOOD)
    assert guard.healthy


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_no_number_ends_it_with_the_rows(loss: float) -> None:
    with pytest.raises(UserError) as caught:
        LossGuard(400).micro_batch(loss, list(range(20)), 5)
    assert caught.value.key == "loss_not_finite"
    assert caught.value.values == {"step": 5, "rows": "0, 1, 2, 3, 4, 5, 6, 7, …"}


def test_an_infinite_gradient_ends_it_but_for_the_scaler_of_fp16() -> None:
    steps(LossGuard(400), GOOD, gradient=math.inf, scaler=Scaler(1024))
    for scaler in (None, Scaler(0.5)):
        with pytest.raises(UserError, match="loss_not_finite"):
            steps(LossGuard(400), GOOD, gradient=math.inf, scaler=scaler)


def test_the_last_good_checkpoint_stays_and_the_weights_are_not_touched(
    tmp_path: Path, tiny_config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gradient that is no number at step 5: the optimiser does not get it."""
    norm = PackedTrainer.__mro__[1]._get_grad_norm  # type: ignore[attr-defined]

    def broken(self: Any, model: Any, grad_norm: Any = None) -> Any:
        return math.nan if self.state.global_step == 4 else norm(self, model, grad_norm=grad_norm)

    monkeypatch.setattr(PackedTrainer.__mro__[1], "_get_grad_norm", broken, raising=False)
    folder = job_folder(tmp_path, tiny_config.overridden({"keep.checkpoint_minutes": 1e-6}))
    with pytest.raises(UserError) as caught:
        attempt_here(folder, 1)
    assert (caught.value.key, caught.value.values["step"]) == ("loss_not_finite", 5)
    newest = checkpoints.latest(folder)
    assert newest and newest.step == 4 and checkpoints.intact(newest)
    monkeypatch.undo()
    assert "resumed" in attempt_here(folder, 2).keys


def test_an_explosion_ends_it_and_no_checkpoint_of_it_stays(
    tmp_path: Path, tiny_config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From step 5 on the loss is ten times as high: what step 4 left was bad already."""
    loss = PackedTrainer.compute_loss

    def exploding(self: Any, *args: Any, **kwargs: Any) -> Any:
        return loss(self, *args, **kwargs) * (10 if self.state.global_step >= 4 else 1)

    monkeypatch.setattr(PackedTrainer, "compute_loss", exploding)
    folder = job_folder(tmp_path, tiny_config.overridden({"keep.checkpoint_minutes": 1e-6}))
    with pytest.raises(UserError) as caught:
        attempt_here(folder, 1)
    assert (caught.value.key, caught.value.values["step"]) == ("loss_exploded", 7)
    assert [one.step for one in checkpoints.whole(folder)][-1] == 3
    monkeypatch.undo()

    # With a lower rate, as it is advised to: from there, and at once.
    attempts.write(folder, 2, {"trainer.learning_rate": 1e-4, "trainer.lr_scheduler_type": "constant"})
    run = attempt_here(folder, 2)
    assert run.curve("learning_rate")[4] == pytest.approx(1e-4)
    assert "resumed" in run.keys


def test_weights_that_are_no_numbers_are_never_saved(
    tmp_path: Path, tiny_config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate = PackedTrainer.evaluate

    def spoiled(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step >= 4:
            for weight in self.model.parameters():
                if weight.requires_grad:
                    weight.data.fill_(math.inf)
        return evaluate(self, *args, **kwargs)

    monkeypatch.setattr(PackedTrainer, "evaluate", spoiled)
    folder = job_folder(tmp_path, tiny_config.overridden({"trainer.eval_steps": 2}))
    with pytest.raises(UserError, match="loss_not_finite"):
        attempt_here(folder, 1)
    assert [one.step for one in checkpoints.whole(folder)] == [2]


def test_a_checkpoint_that_fails_at_once_is_left_for_the_one_before(
    tmp_path: Path, tiny_config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Any, *args: Any, **kwargs: Any) -> Any:
        return loss(self, *args, **kwargs) * (math.nan if self.state.global_step >= 4 else 1)

    loss = PackedTrainer.compute_loss
    monkeypatch.setattr(PackedTrainer, "compute_loss", broken)
    folder = job_folder(tmp_path, tiny_config.overridden({"keep.checkpoint_minutes": 1e-6}))
    newest = []
    for attempt in (1, 2):
        with pytest.raises(UserError, match="loss_not_finite"):
            attempt_here(folder, attempt)
        newest.append(checkpoints.whole(folder)[-1].step)
    assert newest == [4, 3]
