"""transformers' Trainer with checkpoints of ours: staged and renamed, and gone on from to the last bit.

The state is saved and loaded by the Trainer's own parts, optimiser and random numbers with `weights_only`.
Ours are the weights (float32 stays float32), the order of the data, and where in an epoch a job begins.
"""

import random
import time
from math import ceil, inf
from pathlib import Path
from typing import Any

import numpy
import torch
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerControl, TrainerState
from transformers.trainer import TRAINER_STATE_NAME

from qlora_ui.checkpoints import intact
from qlora_ui.config import Keep
from qlora_ui.training.order import StepOrder
from qlora_ui.training.resuming import Beginning
from qlora_ui.training.saving import Checkpoints
from qlora_ui.training.weights import read_weights, write_weights
from qlora_ui.training.worker import Worker


class CheckpointedTrainer(Trainer):  # type: ignore[misc]
    """Begins where `begins` says, saves by the clock and when it is told to, ends early as `keep` says."""

    control: TrainerControl
    state: TrainerState

    def __init__(
        self,
        *,
        worker: Worker,
        order: StepOrder,
        begins: Beginning,
        checkpoints: Checkpoints,
        keep: Keep,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.worker = worker
        self.order = order
        self.begins = begins
        self.checkpoints = checkpoints
        self.keep = keep
        self.fruitless = begins.checkpoint.fruitless if begins.way == "exact" and begins.checkpoint else 0
        best = checkpoints.best()
        self.best_loss = best.loss if best and best.loss is not None else inf
        # Optimiser step at which epoch 0 would have begun if all epochs had as many steps as now.
        self.shift = 0
        self._per_epoch = 1  # steps
        self._random: dict[str, Any] = {}  # after the last finished step
        self._saved = time.monotonic()
        self._evaluating = False

    def begin(self) -> None:
        """Train, from the checkpoint where there is one."""
        checkpoint = self.begins.checkpoint
        self.args.eval_on_start = bool(checkpoint and checkpoint.unevaluated and self.begins.way == "exact")
        self.train(resume_from_checkpoint=str(checkpoint.path) if checkpoint else None)

    # The data: each step has the same bins, whatever the micro-batch

    def get_train_dataloader(self) -> DataLoader[Any]:
        loader = DataLoader(
            self.train_dataset,
            batch_sampler=self.order,
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
        )
        prepared: DataLoader[Any] = self.accelerator.prepare(loader)
        return prepared

    # Where it begins

    def set_initial_training_values(self, args: Any, dataloader: Any) -> tuple[Any, ...]:
        """The trainer's own, for epochs that may have had another number of steps until now."""
        epochs, per_epoch, *others, max_steps = super().set_initial_training_values(args, dataloader)
        self._per_epoch = per_epoch
        if (checkpoint := self.begins.checkpoint) is not None:
            self.shift = checkpoint.epoch_began - checkpoint.epoch * per_epoch
            if args.max_steps > 0:
                epochs = ceil((max_steps - self.shift) / per_epoch)
            else:
                max_steps += self.shift
        return epochs, per_epoch, *others, max_steps

    def _init_training_state(
        self, max_steps: int, per_epoch: int, epochs: int, checkpoint: str | None, trial: Any
    ) -> tuple[int, int]:
        """Epochs done, and micro-batches of the next one."""
        super()._init_training_state(max_steps, per_epoch, epochs, checkpoint, trial)
        self.state.compute_steps(self.args, max_steps)
        self.state.global_step = self.begins.step
        if self.begins.step >= max_steps or self._in_vain():
            return epochs, 0  # it had ended: nothing is left but to save the adapter
        done, steps = divmod(self.begins.step - self.shift, per_epoch)
        return done, steps * self.args.gradient_accumulation_steps

    def _load_from_checkpoint(self, checkpoint: str, model: Any = None) -> None:
        read_weights(self.model, Path(checkpoint))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Their state, under the settings of this attempt: a lower learning rate may be why there is one."""
        if checkpoint is None or self.begins.checkpoint is None:
            return
        chosen = [
            {name: value for name, value in group.items() if name != "params"}
            for group in self.optimizer.param_groups
        ]
        rates = list(self.lr_scheduler.base_lrs)
        super()._load_optimizer_and_scheduler(checkpoint)
        scheduler = self.lr_scheduler
        scheduler.base_lrs = rates
        scheduler.last_epoch -= self.begins.checkpoint.step - self.begins.step
        for group, settings, rate, factor in zip(
            self.optimizer.param_groups, chosen, rates, scheduler.lr_lambdas, strict=True
        ):
            group.update(settings, lr=rate * factor(scheduler.last_epoch))
        scheduler._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    # When it saves, and what

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        """After each step, and before its evaluation: from here an interrupted job can go on."""
        self._random = random_state()
        self.control.should_save = time.monotonic() - self._saved >= 60 * self.keep.checkpoint_minutes
        super()._maybe_log_save_evaluate(*args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Draws no random number of the training; saves, and counts what did not better the loss."""
        self._evaluating = True
        with torch.random.fork_rng():
            loss = self.held_out_loss()
        self._evaluating = False
        self.fruitless = 0 if loss < self.best_loss else self.fruitless + 1
        self.best_loss = min(self.best_loss, loss)  # NaN is not less
        metrics = {"eval_loss": loss}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        self.save(loss)
        if self._in_vain():
            self.worker.log("early_stop", step=self.state.global_step, evaluations=self.fruitless)
            self.control.should_training_stop = True
        return metrics

    def held_out_loss(self) -> float:
        raise NotImplementedError

    def _in_vain(self) -> bool:
        return 0 < self.keep.early_stopping_patience <= self.fruitless

    def save(self, loss: float | None = None) -> None:
        """A checkpoint of the last finished step, if there is none yet; with the loss, if it lacks that."""
        step = self.state.global_step
        if not self.healthy():
            return
        if self.checkpoints.here(step):
            if loss is not None:
                self.checkpoints.amend(step, loss=loss, fruitless=self.fruitless, unevaluated=False)
            return
        if step == self.begins.step:
            return
        done = (step - self.shift) // self._per_epoch
        progress = {
            "epoch": done,
            "epoch_began": self.shift + done * self._per_epoch,
            "fruitless": self.fruitless,
            "unevaluated": self._evaluating,
        }
        self.checkpoints.save(step, loss, progress, self._write_state)
        self._saved = time.monotonic()

    def load_best(self) -> int:
        """The weights with the lowest held-out loss become the model's; their step. The last where none was
        measured."""
        step: int = self.state.global_step
        best = self.checkpoints.best()
        if best is None or best.step == step:
            return step
        if not intact(best):
            self.worker.log("best_damaged", level="warning", step=best.step)
            return step
        read_weights(self.model, best.path)
        self.worker.log("best_kept", step=best.step, loss=f"{best.loss:.3f}")
        return best.step

    def healthy(self) -> bool:
        """Whether the present state is worth going on from."""
        return True

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self.save()

    def _write_state(self, folder: Path) -> None:
        write_weights(self.model, folder)
        self._save_optimizer_and_scheduler(str(folder))
        self._save_scaler(str(folder))
        torch.save(self._random, folder / "rng_state.pth")
        self.state.save_to_json(str(folder / TRAINER_STATE_NAME))


def random_state() -> dict[str, Any]:
    """Of all generators, as the trainer loads it."""
    state = {
        "python": random.getstate(),
        "numpy": numpy.random.get_state(),
        "cpu": torch.random.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.random.get_rng_state()
    return state
