"""Ends a training that went off the rails, before the step that would spoil what was learned."""

import math
from typing import Any

from qlora_ui.errors import UserError

PATIENCE = 3  # steps in a row that are worse than guessing
ROWS_NAMED = 8


class LossGuard:
    """Looks at every loss and at the gradient before each optimiser step. Raises UserError loss_not_finite,
    loss_exploded: the weights and the last checkpoint are then still good."""

    def __init__(self, vocabulary: int) -> None:
        self.worst = math.log(vocabulary) + 1  # nats; guessing costs the logarithm
        self._learned = False  # the loss was better than that once
        self._bad_steps = 0
        self._loss = 0.0  # of the step so far
        self._rows: list[int] = []

    @property
    def healthy(self) -> bool:
        return not self._bad_steps

    def micro_batch(self, loss: float, rows: list[int], step: int) -> None:
        """`loss`: its share of the step's; `rows`: their numbers in the data set."""
        if not math.isfinite(loss):
            raise UserError("loss_not_finite", step=step, rows=_few(rows))
        self._loss += loss
        self._rows += rows

    def before_update(self, gradient: float, scaler: Any, step: int) -> None:
        """`gradient`: its norm. In fp16 it may overflow now and then: the scaler skips the step and scales
        less, until nothing is left to scale."""
        loss, rows = self._loss, self._rows
        self._loss, self._rows = 0.0, []
        overflow = scaler is not None and scaler.get_scale() > 1
        if not math.isfinite(gradient) and not overflow:
            raise UserError("loss_not_finite", step=step, rows=_few(rows))
        self._bad_steps = self._bad_steps + 1 if loss > self.worst and self._learned else 0
        self._learned = self._learned or loss <= self.worst
        if self._bad_steps == PATIENCE:
            raise UserError("loss_exploded", step=step, loss=f"{loss:.1f}", rows=_few(rows))


def _few(rows: list[int]) -> str:
    named = ", ".join(map(str, rows[:ROWS_NAMED]))
    return named if len(rows) <= ROWS_NAMED else named + ", …"
