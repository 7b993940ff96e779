"""A job's checkpoints on the disk, as everybody may know them: what is there, whether it is whole, how a job
goes on from it. The worker writes them (`training/saving.py`); nothing here reads a tensor.

`checkpoints/step-<N>/` appears by a rename, with a `checkpoint.json` that lists its files, their sizes and
checksums.
"""

import json
import shutil
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from qlora_ui.config import TrainConfig

FOLDER = "checkpoints"
MANIFEST = "checkpoint.json"
PART = ".part"  # the end of a name that is not yet one, or no longer
OLD = ".old" + PART  # what is about to be replaced
CHUNK = 1 << 20  # bytes read at once

Way = Literal["exact", "epoch", "anew"]

PROGRESS = ("attempt", "epoch", "epoch_began", "fruitless", "unevaluated")  # what only the worker needs


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
    attempt: int = 1  # that wrote it
    epoch: int = 0  # whole epochs done
    epoch_began: int = 0  # step after which the epoch it is in began
    fruitless: int = 0  # evaluations since the best one
    unevaluated: bool = False  # a Stop came before the evaluation of its step was done


def whole(job: Path) -> list[Checkpoint]:
    """The checkpoints of a job's folder, oldest first. A torn one is passed over.

    A later attempt's are newer, whatever their step: it may have gone back.
    """
    found = [_read(path) for path in (job / FOLDER).glob("step-*") if not path.name.endswith(PART)]
    return sorted((one for one in found if one), key=lambda one: (one.attempt, one.step))


def latest(job: Path) -> Checkpoint | None:
    return next(iter(whole(job)[::-1]), None)


def fitting(job: Path, chosen: TrainConfig, overrides: dict[str, Any]) -> list[Checkpoint]:
    """Those that an attempt with these overrides can go on from, newest first."""
    after = chosen.overridden(overrides)
    return [
        one
        for one in reversed(whole(job))
        if one.overrides == overrides or way(chosen.overridden(one.overrides), after) != "anew"
    ]


def delete(job: Path) -> None:
    """Remove all checkpoints of a job."""
    shutil.rmtree(job / FOLDER, ignore_errors=True)


def intact(checkpoint: Checkpoint) -> bool:
    """Whether its files are, byte for byte, what was written. Reads all of them."""
    try:
        sums = json.loads((checkpoint.path / MANIFEST).read_bytes())["checksums"]
        return bool({name: checksum(checkpoint.path / name) for name in sums} == sums)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def checksum(path: Path) -> int:
    """CRC-32 of a file: against a disk's mistakes, not against people."""
    value = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            value = zlib.crc32(chunk, value)
    return value


def remove(path: Path) -> None:
    """Remove one, whole: what a crash leaves of it has a name that is none."""
    part = path.with_name(path.name + PART)
    shutil.rmtree(part, ignore_errors=True)
    path.rename(part)
    shutil.rmtree(part, ignore_errors=True)


def tidy(job: Path) -> None:
    """Remove what a crash in the middle of a save left, or put back what was about to be replaced. Only for
    the worker that owns the job."""
    for folder in (job, job / FOLDER):
        for old in folder.glob("*" + OLD):
            final = old.with_name(old.name.removesuffix(OLD))
            if not final.exists():
                old.rename(final)
        for part in folder.glob("*" + PART):
            if part.is_dir():
                shutil.rmtree(part, ignore_errors=True)


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
            **{name: manifest[name] for name in PROGRESS if name in manifest},
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
