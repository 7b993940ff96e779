"""What a config will come to: trained parameters, adapter size, steps."""

from math import ceil

from qlora_ui.config import Lora, TrainConfig
from qlora_ui.data.examples import held_out as held_out
from qlora_ui.models import Linear, ModelFacts

FLOAT32 = 4  # bytes: adapters are kept and saved in full precision


def adapted(facts: ModelFacts, lora: Lora) -> list[Linear]:
    """The linear layers that get an adapter, by PEFT's rule: a target is the end of a layer's name."""
    targets = lora.target_modules
    if isinstance(targets, str):
        return list(facts.linears)
    return [
        linear for linear in facts.linears if any(f".{linear.name}".endswith(f".{name}") for name in targets)
    ]


def trainable_parameters(facts: ModelFacts, lora: Lora) -> int:
    """Exactly what PEFT will train: two thin matrices beside each adapted layer, r × in and out × r."""
    return lora.r * sum(linear.in_features + linear.out_features for linear in adapted(facts, lora))


def adapter_bytes(facts: ModelFacts, lora: Lora) -> int:
    """Size of the saved adapter's weights, in bytes."""
    return FLOAT32 * trainable_parameters(facts, lora)


def steps(rows: int, config: TrainConfig) -> int:
    """About how many optimiser steps it takes; `rows`: those learned from. Packing moves it a little."""
    if config.trainer.max_steps > 0:
        return config.trainer.max_steps
    return ceil(ceil(rows / config.batch.rows_per_step) * config.trainer.num_train_epochs)
