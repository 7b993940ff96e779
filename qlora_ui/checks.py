"""What is worth saying before a job starts: TrainConfig and this machine → findings, most urgent first.

A finding is a text key: `check.<key>.what` says what was found, `check.<key>.do` what would mend it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from qlora_ui.config import TrainConfig
from qlora_ui.hardware import Gpu
from qlora_ui.texts.quantities import size

BUSY = 1_000_000_000  # bytes held by others: more than a desktop's own windows


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing worth saying. `bad`: the job will hardly work so; `warn`: it may."""

    key: str
    level: Literal["bad", "warn"]
    values: Mapping[str, Any] = field(default_factory=dict)


def findings(config: TrainConfig, gpus: Sequence[Gpu]) -> list[Finding]:
    """All findings for a job of this config on these GPUs (none: the CPU)."""
    if gpus and all(gpu.others > BUSY for gpu in gpus):
        gpu = min(gpus, key=lambda gpu: gpu.others)
        values = {"name": gpu.name, "others": size(gpu.others), "free": size(gpu.free)}
        return [Finding("gpu_busy", "warn", values)]
    return []
