"""What is worth saying before a job starts: TrainConfig and this machine → findings, most urgent first.

A finding is a text key: `check.<key>.what` says what was found, `check.<key>.do` what would mend it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from qlora_ui import estimates
from qlora_ui.config import TrainConfig
from qlora_ui.hardware import Gpu, free_disk, same_disk
from qlora_ui.models import ModelFacts, hub_cache, to_download
from qlora_ui.texts.quantities import size

BUSY = 1_000_000_000  # bytes held by others: more than a desktop's own windows
FEW_STEPS = 10  # a rule of thumb: the demo's answers begin to change at about the tenth


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing worth saying. `refuse`: it can't be started; `bad`: it will hardly work; `warn`: it may."""

    key: str
    level: Literal["refuse", "bad", "warn"]
    values: Mapping[str, Any] = field(default_factory=dict)


def findings(
    config: TrainConfig, gpus: Sequence[Gpu], steps: int | None = None, facts: ModelFacts | None = None
) -> list[Finding]:
    """All findings for a job of this config on these GPUs (none: the CPU).

    The `steps` it will take and the model's `facts` where they are known.
    """
    found = [_no_layers(config, facts), _gpu_busy(gpus), _few_steps(steps)]
    return [finding for finding in found if finding]


def room(config: TrainConfig, facts: ModelFacts | None, home: Path) -> Finding | None:
    """Whether the disk can take the job: its checkpoints and adapter, and the model it has to download."""
    job = estimates.disk(config, facts) if facts else 0
    download = to_download(config.model, home)
    cache = home if config.model.source == "demo" else hub_cache()
    needs = [(home, job), (cache, download)]
    if same_disk(home, cache):
        needs = [(home, job + download)]
    for folder, need in needs:
        free = free_disk(folder)
        if need > free:
            sizes = {"need": need, "free": free, "job": job, "download": download}
            shown = {name: size(value) for name, value in sizes.items()}
            return Finding("no_room", "refuse", {"folder": str(folder), **shown})
    return None


def _no_layers(config: TrainConfig, facts: ModelFacts | None) -> Finding | None:
    if facts is None or estimates.adapted(facts, config.lora):
        return None
    there = dict.fromkeys(linear.name.rpartition(".")[2] for linear in facts.linears)
    values = {"named": ", ".join(config.lora.target_modules), "there": ", ".join(there)}
    return Finding("no_layers", "bad", values)


def _gpu_busy(gpus: Sequence[Gpu]) -> Finding | None:
    gpu = max(gpus, key=lambda gpu: gpu.free, default=None)  # the one the scheduler takes
    if gpu is None or gpu.others <= BUSY:
        return None
    return Finding("gpu_busy", "warn", {"name": gpu.name, "others": size(gpu.others), "free": size(gpu.free)})


def _few_steps(steps: int | None) -> Finding | None:
    if steps is None or steps >= FEW_STEPS:
        return None
    return Finding("few_steps", "warn", {"steps": steps})
