"""What the trainer does → events for the page."""

import math
from typing import Any

from transformers import TrainerCallback

from qlora_ui.events import Metrics
from qlora_ui.training.worker import Worker


class EventCallback(TrainerCallback):  # type: ignore[misc]
    """Phases and metrics. Every number the trainer logs is in the event."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.worker.report("training", state.global_step, state.max_steps, "steps")

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.worker.step = state.global_step

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **kwargs: Any) -> None:
        if "train_runtime" in logs:  # the trainer's own summary at the end
            return
        values = {name: float(value) for name, value in logs.items() if name != "epoch"}
        values = {name: value for name, value in values.items() if math.isfinite(value)}
        self.worker.tell(Metrics(state.global_step, float(state.epoch or 0), values))

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.worker.report("training", state.global_step, state.max_steps, "steps")
