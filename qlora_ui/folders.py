"""A job's folder appears whole and goes whole, whatever happens meanwhile."""

import os
import shutil
from pathlib import Path

from qlora_ui.config import TrainConfig
from qlora_ui.errors import UserError

NEW = ".new-"  # the name begins so while it is made,
DELETED = ".deleted-"  # and so on its way out


def write_folder(folder: Path, config: TrainConfig) -> None:
    """A job's folder with its `config.json` and, as `start/`, the adapter that it goes on from; it appears
    whole or not at all. Raises OSError, UserError `parent_without_adapter`."""
    part = folder.with_name(NEW + folder.name)
    part.mkdir(parents=True, mode=0o700)
    try:
        (part / "config.json").write_text(config.model_dump_json(indent=1) + "\n", "utf-8")
        if config.parent:
            _copy_adapter(folder.with_name(config.parent), part / "start")
        _flush(part)  # the row will survive a power cut: so must this
        part.rename(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _copy_adapter(parent: Path, to: Path) -> None:
    """A copy, for the parent may be resumed or deleted. `adapter/` appears by a rename: it is whole."""
    try:
        shutil.copytree(parent / "adapter", to)
    except FileNotFoundError:
        raise UserError("parent_without_adapter", parent=parent.name) from None


def _flush(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def clear(jobs: Path) -> None:
    """Remove what somebody who was killed left half made or half deleted."""
    for left in [*jobs.glob(NEW + "*"), *jobs.glob(DELETED + "*")]:
        shutil.rmtree(left, ignore_errors=True)
