"""What the trainer does → events for the page."""

import time
from typing import Any

import torch
from transformers import TrainerCallback

from qlora_ui.events import Metrics
from qlora_ui.training.base_model import memory_used
from qlora_ui.training.worker import Worker


class EventCallback(TrainerCallback):  # type: ignore[misc]
    """Phases and metrics. Every number the trainer logs is in the event."""

    def __init__(self, worker: Worker, device: torch.device) -> None:
        self.worker = worker
        self.device = device
        self.trainer: Any = None  # set once it exists: the trainer wants its callbacks at birth
        self._tokens = 0
        self._since = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._since = time.monotonic()
        self.worker.report("training", state.global_step, state.max_steps, "steps")

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.worker.step = state.global_step

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **kwargs: Any) -> None:
        if "train_runtime" in logs:  # the trainer's own summary at the end
            return
        values = {name: float(value) for name, value in logs.items() if name != "epoch"}
        if "loss" in values:
            values["tokens_per_second"] = self._tokens_per_second()
            values["memory"] = memory_used(self.device)
        self.worker.tell(Metrics(state.global_step, float(state.epoch or 0), values))

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.worker.report("training", state.global_step, state.max_steps, "steps")

    def _tokens_per_second(self) -> float:
        """Real tokens since the last log, over the time in which the model was trained, not evaluated."""
        now = time.monotonic() - self.trainer.seconds_evaluating
        tokens, seconds = self.trainer.tokens - self._tokens, now - self._since
        self._tokens, self._since = self.trainer.tokens, now
        return float(tokens / seconds)
