"""The trainer of packed bins: the loss, the evaluation, when to stop."""

import time
from typing import Any

import torch
from torch import nn
from transformers import PrinterCallback

from qlora_ui.errors import UserError
from qlora_ui.training.base_model import memory_used
from qlora_ui.training.checkpointing import CheckpointedTrainer
from qlora_ui.training.dataset import IGNORED
from qlora_ui.training.guard import PATIENCE, LossGuard
from qlora_ui.training.loss import SummedLoss


class PackedTrainer(CheckpointedTrainer):
    """Trains on packed bins. The loss is weighted by tokens, over the whole step and the whole evaluation."""

    loss_is_scaled_for_ga = True

    def __init__(self, *, summed_loss: SummedLoss, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model_accepts_loss_kwargs = True  # the trainer then counts the targets of a step for us
        self.summed_loss = summed_loss
        self.guard = LossGuard(self.model.config.get_text_config().vocab_size)
        self.remove_callback(PrinterCallback)  # the events say it all
        self.tokens = 0  # real ones trained on
        self._seconds_apart = 0.0  # evaluating and saving
        self._logged = (0, time.monotonic())  # tokens and time of training, at the last log

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """This micro-batch's share of the mean over the step's targets."""
        return self.summed_loss(inputs) / num_items_in_batch

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items: Any = None) -> Any:
        """Raises StopRequested between two micro-batches, UserError loss_not_finite."""
        self.worker.check_stop()
        loss = super().training_step(model, inputs, num_items)
        step = self.state.global_step + 1
        try:
            self.guard.micro_batch(loss.item(), inputs["rows"], step)
        except UserError:
            self._began_badly(step)
            raise
        self.tokens += inputs["tokens"]
        return loss

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        """The last thing before the optimiser's step. Raises UserError loss_not_finite, loss_exploded."""
        grad_norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        step = self.state.global_step + 1
        try:
            self.guard.before_update(float(grad_norm), self.accelerator.scaler, step)
        except UserError:
            if not self.guard.healthy:  # what the first of the bad steps began with was bad already
                self.checkpoints.drop(step - PATIENCE)
            self._began_badly(step)
            raise
        return grad_norm

    def _began_badly(self, step: int) -> None:
        """A first step that goes wrong speaks against the checkpoint: the next attempt goes further back."""
        if step == self.begins.step + 1:
            self.checkpoints.drop_last()

    def healthy(self) -> bool:
        learned = (weight for weight in self.model.parameters() if weight.requires_grad)
        return self.guard.healthy and all(bool(weight.isfinite().all()) for weight in learned)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds what a step's own log lacks: memory, and real tokens over the time in which it trained."""
        if "loss" in logs:
            now = time.monotonic() - self._seconds_apart
            tokens, then = self._logged
            self._logged = (self.tokens, now)
            logs["tokens_per_second"] = (self.tokens - tokens) / (now - then)
            logs["memory"] = memory_used(self.args.device)
        super().log(logs, start_time)
        self.state.log_history.clear()  # the events have it; here it would grow with every checkpoint

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        began = time.monotonic()
        metrics = super().evaluate()
        self._seconds_apart += time.monotonic() - began
        return metrics

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        began = time.monotonic()
        super()._save_checkpoint(model, trial)
        self._seconds_apart += time.monotonic() - began

    def held_out_loss(self) -> float:
        """Mean over all targets of the held-out rows."""
        self.model.eval()
        total, targets = 0.0, 0
        for number, inputs in enumerate(self.get_eval_dataloader()):
            done = number * self.args.eval_batch_size
            self.worker.report("evaluating", done, len(self.eval_dataset), "bins")
            self.worker.check_stop()
            inputs = self._prepare_inputs(inputs)
            with torch.no_grad():
                total += self.summed_loss(inputs).item()
            targets += int((inputs["shift_labels"] != IGNORED).sum())
        self.model.train()
        return total / targets
