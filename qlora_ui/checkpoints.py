"""A job's checkpoints on the disk, as everybody may know them: what is there, whether it is whole, how a job
goes on from it. The worker writes them (`training/saving.py`); nothing here reads a tensor.

`checkpoints/step-<N>/` appears by a rename, with a `checkpoint.json` that lists its files and their sizes.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from qlora_ui.config import TrainConfig

FOLDER = "checkpoints"
MANIFEST = "checkpoint.json"
PART = ".part"  # the end of a name that is not yet one

Way = Literal["exact", "epoch", "anew"]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One whole checkpoint. `loss`: held-out loss at its step, None if it was not measured there."""

    step: int
    path: Path
    time: float  # seconds since the epoch
    size: int  # bytes
    loss: float | None
    dtype: str  # in which the attempt computed
    overrides: dict[str, Any]  # of the attempt that wrote it


def whole(job: Path) -> list[Checkpoint]:
    """The checkpoints of a job's folder, oldest first. A torn one is passed over."""
    found = [_read(path) for path in (job / FOLDER).glob("step-*") if not path.name.endswith(PART)]
    return sorted((one for one in found if one), key=lambda one: one.step)


def latest(job: Path) -> Checkpoint | None:
    return next(iter(whole(job)[::-1]), None)


def best(job: Path) -> Checkpoint | None:
    """The one with the lowest held-out loss, None where none was measured."""
    measured = [one for one in whole(job) if one.loss is not None]
    return min(measured, key=lambda one: one.loss or 0.0, default=None)


def delete(job: Path) -> None:
    """Remove all checkpoints of a job."""
    shutil.rmtree(job / FOLDER, ignore_errors=True)


def way(before: TrainConfig, after: TrainConfig) -> Way:
    """How a job whose config was `before` at its checkpoint goes on with `after`.

    exact: as if it had never ended. epoch: weights and optimiser are kept, the epoch begins again, as its
    bins are others. anew: the adapter has another shape, nothing can be kept.
    """
    if before.lora != after.lora:
        return "anew"
    changed = (before.batch, before.dataset, before.trainer.seed) != (
        after.batch,
        after.dataset,
        after.trainer.seed,
    )
    return "epoch" if changed else "exact"


def _read(path: Path) -> Checkpoint | None:
    try:
        manifest = json.loads((path / MANIFEST).read_bytes())
        sizes = {name: (path / name).stat().st_size for name in manifest["files"]}
        if sizes != manifest["files"]:
            return None
        return Checkpoint(
            step=int(manifest["step"]),
            path=path,
            time=float(manifest["time"]),
            size=sum(sizes.values()),
            loss=manifest["loss"],
            dtype=manifest["dtype"],
            overrides=manifest["overrides"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
