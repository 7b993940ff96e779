"""What a config will come to: trained parameters, adapter size, steps, memory, room on the disk."""

from dataclasses import dataclass
from math import ceil

from qlora_ui.config import Lora, TrainConfig
from qlora_ui.data.examples import held_out as held_out
from qlora_ui.models import Linear, ModelFacts

FLOAT32 = 4  # bytes: adapters are kept and saved in full precision
# Bytes of a weight in NF4 with double quantisation: 4 bits, and 8 + 32/256 bits for each 64 (QLoRA, 3).
NF4 = (4 + 8 / 64 + 32 / (64 * 256)) / 8
# What a training step keeps of each token, in numbers per input and output of a linear layer: of the demo
# model it was 2.1 to 2.6 MB a token in float32, twice what its 210 layers read and write.
KEPT = 2.0
LIBRARIES = (
    600_000_000  # bytes of the process itself on a CPU: what the demo's peak had beyond the parts below
)
CHECKPOINTS = 4  # on the disk at once: the last 2, the best, and the one being written
TOKEN = 4.0  # bytes of a token: about that in English and in Chinese
TURNS = 30  # tokens that a chat template puts around a row
TOKENIZER = 20_000_000  # bytes beside the adapter's weights: tokenizer, template, config


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """Bytes of a training step by part."""

    base: int  # frozen weights: 4-bit layers, the rest in 16 or 32 bits
    adapter: int  # LoRA weights, their gradients, Adam's two moments
    activations: int  # what the forward keeps for the backward
    libraries: int  # on a CPU; a GPU's driver is not measured

    @property
    def total(self) -> int:
        return self.base + self.adapter + self.activations + self.libraries


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


def steps(rows: int, config: TrainConfig, length: float) -> int:
    """About how many optimiser steps it takes; `rows`: those learned from, `length`: their mean in bytes.

    As the recipe does, counts the bins of `max_length` tokens that the rows fill: a step is whole bins.
    """
    if config.trainer.max_steps > 0:
        return config.trainer.max_steps
    tokens = min(config.batch.max_length, TURNS + length / TOKEN)
    bins = max(1, ceil(rows * tokens / config.batch.max_length))
    per_step = max(1, round(config.batch.rows_per_step * bins / rows))
    return ceil(ceil(bins / per_step) * config.trainer.num_train_epochs)


def memory(config: TrainConfig, facts: ModelFacts, on_gpu: bool) -> MemoryNeed:
    """About what one training step needs."""
    width = 2 if on_gpu else FLOAT32  # bytes of a number that is not quantised
    linear = sum(layer.in_features * layer.out_features for layer in facts.linears)
    tokens = config.trainer.per_device_train_batch_size * config.batch.max_length
    features = sum(layer.in_features + layer.out_features for layer in facts.linears)
    kept = KEPT * features
    if saves_activations(config, on_gpu):
        # Each block keeps its input only, and one block at a time is computed again.
        blocks = len({layer.name.rpartition(".layers.")[2].partition(".")[0] for layer in facts.linears})
        hidden = min((layer.in_features for layer in facts.linears), default=0)
        kept = KEPT * features / max(1, blocks) + blocks * hidden
    return MemoryNeed(
        base=int(NF4 * linear + width * (facts.total_parameters - linear)),
        adapter=4 * adapter_bytes(facts, config.lora),
        activations=int(tokens * kept * width),
        libraries=0 if on_gpu else LIBRARIES,
    )


def saves_activations(config: TrainConfig, on_gpu: bool) -> bool:
    """Whether activations are computed again instead of kept: where not chosen, on a GPU."""
    chosen = config.trainer.activation_checkpointing
    return on_gpu if chosen is None else chosen


def disk(config: TrainConfig, facts: ModelFacts) -> int:
    """The most a job's folder takes while it runs, in bytes: its checkpoints (adapter and Adam's moments) and
    the adapter."""
    adapter = adapter_bytes(facts, config.lora)
    return CHECKPOINTS * 3 * adapter + adapter + TOKENIZER
