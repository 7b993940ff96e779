"""Adapter and checkpoints on the disk: each a folder that is there whole or not at all."""

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from qlora_ui import attempts, checkpoints
from qlora_ui.checkpoints import MANIFEST, OLD, PART, Checkpoint, Way
from qlora_ui.config import Model, TrainConfig
from qlora_ui.events import Artifact
from qlora_ui.failpoints import failpoint
from qlora_ui.training.worker import Worker

LAST = 2  # checkpoints kept beside the best one


@contextmanager
def staged(final: Path, worker: Worker) -> Iterator[Path]:
    """A folder to fill. It gets its name once it is whole and on the disk; what had the name goes.

    Whatever is raised, a full disk or a newer attempt too, leaves what was there before.
    """
    part, old = (final.with_name(final.name + end) for end in (PART, OLD))
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        failpoint("save")
        yield part
        failpoint("save")
        _flush(part)
        worker.check_owner()
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)  # a full disk needs the room
        raise
    shutil.rmtree(old, ignore_errors=True)
    failpoint("rename")
    if final.exists():
        final.rename(old)
        failpoint("rename")
    part.rename(final)
    failpoint("rename")
    _sync(final.parent)
    _sync(final.parent.parent)  # `checkpoints` itself may be new
    shutil.rmtree(old, ignore_errors=True)


def _flush(folder: Path) -> None:
    """Onto the disk itself, so that a power cut after the rename finds all of it."""
    for path in folder.iterdir():
        _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def save_adapter(
    model: Any, tokenizer: PreTrainedTokenizerBase, source: Model, base: Path, worker: Worker
) -> int:
    """Write `adapter/`, a normal PEFT folder, and return its size in bytes. On a full disk raises what
    the libraries raise."""
    # Where the base model can be had again: its Hub id, not a place in this machine's cache.
    adapter = model.peft_config["default"]
    adapter.base_model_name_or_path = source.name_or_path if source.source == "hub" else str(base)
    adapter.revision = source.revision if source.source == "hub" else None
    folder = worker.folder
    with staged(folder / "adapter", worker) as part:
        # Never asks the Hub whether the vocabulary grew: it did not.
        model.save_pretrained(part, save_embedding_layers=False)
        tokenizer.save_pretrained(part)
        shutil.copyfile(folder / "config.json", part / "config.json")
    return sum(path.stat().st_size for path in (folder / "adapter").rglob("*") if path.is_file())


class Checkpoints:
    """The checkpoints of one attempt: writes them, keeps the last two and the best, removes the others."""

    def __init__(self, worker: Worker, config: TrainConfig, dtype: torch.dtype) -> None:
        self.worker = worker
        self.config = config
        self.job = worker.folder
        self.dtype = str(dtype).removeprefix("torch.")
        self._overrides = attempts.overrides(worker.folder, worker.attempt)

    def save(
        self, step: int, loss: float | None, progress: dict[str, Any], write: Callable[[Path], None]
    ) -> None:
        """`write` fills the folder of the checkpoint; `progress` is what `checkpoints.PROGRESS` names.

        A full disk raises what the libraries raise, and the checkpoints before it stay.
        """
        final = self.job / checkpoints.FOLDER / f"step-{step}"
        with staged(final, self.worker) as part:
            write(part)
            files = sorted(path for path in part.iterdir() if path.is_file())
            manifest = {
                "step": step,
                "time": time.time(),
                "loss": loss if loss is not None and math.isfinite(loss) else None,
                "dtype": self.dtype,
                "overrides": self._overrides,
                "attempt": self.worker.attempt,
                **progress,
                "files": {path.name: path.stat().st_size for path in files},
                "checksums": {path.name: checkpoints.checksum(path) for path in files},
            }
            (part / MANIFEST).write_text(json.dumps(manifest), "utf-8")
        path = str(final.relative_to(self.job))
        self.worker.tell(Artifact("checkpoint", path, sum(manifest["files"].values()), step))
        self._prune()

    def drop(self, step: int) -> None:
        """The checkpoint of a step, if there is one."""
        for one in self._mine():
            if one.step == step:
                checkpoints.remove(one.path)

    def drop_last(self) -> None:
        """The newest one, if there is one before it."""
        if len(mine := self._mine()) > 1:
            checkpoints.remove(mine[-1].path)

    def here(self, step: int) -> bool:
        """Whether the checkpoint of a step is there, from this very course."""
        return any(one.step == step for one in self._mine())

    def amend(self, step: int, **changes: Any) -> None:
        """What became known of a checkpoint only after it was written."""
        path = self.job / checkpoints.FOLDER / f"step-{step}" / MANIFEST
        part = path.with_name(MANIFEST + PART)
        part.write_text(json.dumps({**json.loads(path.read_bytes()), **changes}), "utf-8")
        part.replace(path)

    def best(self) -> Checkpoint | None:
        """The one with the lowest held-out loss, among those measured on the same rows."""
        measured = [one for one in self._mine() if one.loss is not None and self._way(one) == "exact"]
        return min(measured, key=lambda one: one.loss or 0.0, default=None)

    def _mine(self) -> list[Checkpoint]:
        """Of this attempt, and those before the step it began at; not those of a course it left."""
        return [
            one
            for one in checkpoints.whole(self.job)
            if (one.attempt == self.worker.attempt or one.step <= self.worker.from_step)
            and self._way(one) != "anew"
        ]

    def _way(self, checkpoint: Checkpoint) -> Way:
        if checkpoint.overrides == self._overrides:
            return "exact"
        chosen = attempts.config(self.job, 0)  # without overrides
        return checkpoints.way(chosen.overridden(checkpoint.overrides), self.config)

    def _prune(self) -> None:
        best = self.best()
        kept = {one.path for one in [*self._mine()[-LAST:], *([best] if best else [])]}
        for one in checkpoints.whole(self.job):
            if one.path not in kept:
                checkpoints.remove(one.path)
