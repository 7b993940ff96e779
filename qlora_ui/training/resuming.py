"""Where an attempt begins: at a checkpoint of an earlier one, or at step 0. Imports nothing heavy."""

from dataclasses import dataclass, field

from qlora_ui import attempts, checkpoints
from qlora_ui.checkpoints import Checkpoint, Way
from qlora_ui.config import TrainConfig
from qlora_ui.training.worker import Worker


@dataclass(frozen=True, slots=True)
class Beginning:
    """`checkpoint`: None at step 0. `way`: None where there was nothing to go on from."""

    checkpoint: Checkpoint | None = None
    way: Way | None = None
    damaged: list[int] = field(default_factory=list)  # steps of checkpoints that cannot be used

    @property
    def step(self) -> int:
        """Optimiser steps that are kept of earlier attempts."""
        if self.checkpoint is None:
            return 0
        return self.checkpoint.step if self.way == "exact" else self.checkpoint.epoch_began


def beginning(worker: Worker, config: TrainConfig) -> Beginning:
    """The newest checkpoint that is intact and fits what the attempt is to train."""
    chosen = attempts.config(worker.folder, 0)  # without overrides
    damaged: list[int] = []
    unfit = False
    for checkpoint in reversed(checkpoints.whole(worker.folder)):
        way = checkpoints.way(chosen.overridden(checkpoint.overrides), config)
        if way == "anew":
            unfit = True
        elif checkpoints.intact(checkpoint):
            return Beginning(checkpoint, way, damaged)
        else:
            damaged.append(checkpoint.step)
    return Beginning(None, "anew" if unfit else None, damaged)


def announce(worker: Worker, begins: Beginning) -> None:
    """The attempt's first words, and how it goes on from the one before."""
    worker.begin(begins.step)
    for step in begins.damaged:
        worker.log("checkpoint_damaged", level="warning", step=step)
    if begins.way == "exact":
        worker.log("resumed", step=begins.step)
    elif begins.way == "epoch":
        worker.log("resumed_epoch", level="warning", step=begins.step)
    elif begins.way == "anew":
        worker.log("started_anew", level="warning")
    elif worker.attempt > 1:
        worker.log("no_checkpoint")
