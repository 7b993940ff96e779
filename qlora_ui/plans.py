"""What to change of a job that failed, each change with what it saves and how the job goes on with it."""

from dataclasses import dataclass
from typing import Any

from qlora_ui import estimates
from qlora_ui.attempts import MICRO_BATCH
from qlora_ui.checkpoints import Way, way
from qlora_ui.config import TrainConfig
from qlora_ui.models import ModelFacts

CHECKPOINTING = "trainer.activation_checkpointing"
LENGTH = "batch.max_length"
RANK = "lora.r"
RATE = "trainer.learning_rate"
SHORTEST = 128  # tokens: below, most questions with their answers are cut
SPARE = 0.9  # of what there is: estimates are rough, and the rest of the machine wants some


@dataclass(frozen=True, slots=True)
class Change:
    """Overrides of the next attempt. `saves` bytes; `fits`: whether that should be enough; `way`: how the job
    goes on from its last checkpoint."""

    overrides: dict[str, Any]
    saves: int
    fits: bool
    way: Way


def changes(
    config: TrainConfig, facts: ModelFacts | None, values: dict[str, Any], on_gpu: bool
) -> list[Change]:
    """The smallest changes first, each alone; then, if none is enough, the first few together that are.

    `config` is that of the attempt that failed. `values` are the failure's: `used` and `free` bytes at that
    moment, where they are known. Without the model's facts nothing can be said of sizes: nothing is offered.
    """
    if facts is None:
        return []
    if used := values.get("micro_batch", 0):  # a step may have fewer bins than the config allows at once
        config = config.overridden({MICRO_BATCH: min(used, config.trainer.per_device_train_batch_size)})
    steps = _steps(config, on_gpu)
    room = SPARE * (values.get("used", 0) + values.get("free", 0))
    single = [_change(config, facts, step, room, on_gpu) for step in steps]
    if room and not any(change.fits for change in single):
        together: dict[str, Any] = {}
        for step in steps:
            together = {**together, **step}
            change = _change(config, facts, together, room, on_gpu)
            if change.fits and len(together) > 1:
                return [*single, change]
    return single


def calmer(config: TrainConfig) -> Change:
    """What helps a job whose loss exploded: a tenth of its learning rate."""
    overrides = {RATE: float(f"{config.trainer.learning_rate / 10:.3g}")}
    return Change(overrides, 0, True, way(config, config.overridden(overrides)))


def _steps(config: TrainConfig, on_gpu: bool) -> list[dict[str, Any]]:
    """Overrides to try, the one that changes least of the training first."""
    micro, length, rank = (
        config.trainer.per_device_train_batch_size,
        config.batch.max_length,
        config.lora.r,
    )
    found: list[dict[str, Any]] = []
    if micro > 1:
        found.append({MICRO_BATCH: micro // 2})
    if not estimates.saves_activations(config, on_gpu):
        found.append({CHECKPOINTING: True})
    if length // 2 >= SHORTEST:
        found.append({LENGTH: length // 2})
    if rank > 1:
        found.append({RANK: rank // 2})
    return found


def _change(
    config: TrainConfig, facts: ModelFacts, overrides: dict[str, Any], room: float, on_gpu: bool
) -> Change:
    after = config.overridden(overrides)
    need, then = (estimates.memory(one, facts, on_gpu).total for one in (config, after))
    # It did not fit, so it needed at least what there was: an estimate below that was too low by as much.
    too_low = max(1.0, room / SPARE / need)
    return Change(overrides, round((need - then) * too_low), 0 < then * too_low <= room, way(config, after))
