"""transformers' Trainer with the three things that are ours: the loss, the evaluation, when to stop."""

import math
import time
from typing import Any

import torch
from torch import nn
from transformers import PrinterCallback, Trainer, TrainerControl

from qlora_ui.errors import UserError
from qlora_ui.training.base_model import memory_used
from qlora_ui.training.loss import SummedLoss
from qlora_ui.training.worker import Worker


class PackedTrainer(Trainer):  # type: ignore[misc]
    """Trains on packed bins. The loss is weighted by tokens, over the whole step and the whole evaluation."""

    loss_is_scaled_for_ga = True
    control: TrainerControl

    def __init__(self, *, summed_loss: SummedLoss, worker: Worker, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model_accepts_loss_kwargs = True  # the trainer then counts the targets of a step for us
        self.summed_loss = summed_loss
        self.worker = worker
        self.remove_callback(PrinterCallback)  # the events say it all
        self.tokens = 0  # real ones trained on
        self._seconds_evaluating = 0.0
        self._logged = (0, time.monotonic())  # tokens and time of training, at the last log
        self.evaluated_at = -1  # optimiser step

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """This bin's share of the mean over the step's targets."""
        return self.summed_loss(inputs) / num_items_in_batch

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items: Any = None) -> Any:
        """Raises StopRequested between two micro-batches, UserError loss_not_finite."""
        self.worker.check_stop()
        loss = super().training_step(model, inputs, num_items)
        if not math.isfinite(loss.item()):
            raise UserError("loss_not_finite", step=self.state.global_step + 1)
        self.tokens += inputs["tokens"]
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds what a step's own log lacks: memory, and real tokens over the time in which it trained."""
        if "loss" in logs:
            now = time.monotonic() - self._seconds_evaluating
            tokens, then = self._logged
            self._logged = (self.tokens, now)
            logs["tokens_per_second"] = (self.tokens - tokens) / (now - then)
            logs["memory"] = memory_used(self.args.device)
        super().log(logs, start_time)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Mean loss over all targets of the held-out rows."""
        began = time.monotonic()
        self.model.eval()
        total, targets = 0.0, 0
        for done, inputs in enumerate(self.get_eval_dataloader()):
            self.worker.check_stop()
            self.worker.report("evaluating", done, len(self.eval_dataset), "bins")
            inputs = self._prepare_inputs(inputs)
            with torch.no_grad():
                total += self.summed_loss(inputs).item()
            targets += int((inputs["shift_labels"] != -100).sum())
        self.model.train()
        self._seconds_evaluating += time.monotonic() - began
        self.evaluated_at = self.state.global_step
        metrics = {"eval_loss": total / targets}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics
