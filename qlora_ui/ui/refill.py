"""A job's config → what the fields of the form hold for it: the way back of `collect.py`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from qlora_ui.config import LORA_MODULES, TrainConfig
from qlora_ui.jobs import Job, JobStore
from qlora_ui.ui.collect import ATTENTION, shown
from qlora_ui.ui.view import can_be_parent

# Of a job that goes on from another's adapter: the adapter's shape, and the model that it fits.
FIXED = ("model.", "lora.")


def filled(config: TrainConfig) -> dict[str, Any]:
    """Values by field path; an uploaded file is none of them, see `upload`."""
    values = dict(_flat(config))
    source = config.model.source
    values |= {"model.hub": "", "model.folder": "", "dataset.hub": "", "lock": False, "preset": ""}
    if source != "demo":
        values[f"model.{source}"] = config.model.name_or_path
    if config.dataset.source == "hub":
        values["dataset.hub"] = config.dataset.path
    values |= _modules(config.lora.target_modules)
    values["length"] = "steps" if config.trainer.max_steps > 0 else "epochs"
    return values


def fixed(parent: TrainConfig) -> dict[str, Any]:
    """The fields that a job has from its parent, whatever stands in the form."""
    return {path: value for path, value in filled(parent).items() if path.startswith(FIXED)}


def parent(store: JobStore, job_id: object) -> Job | None:
    """The job to go on from, if there is one of that id and it has an adapter."""
    job = store.get(job_id) if isinstance(job_id, str) and job_id else None
    return job if job and can_be_parent(job, store) else None


def upload(store: JobStore, config: TrainConfig) -> dict[str, str] | None:
    """The file that a job learnt from, as the browser keeps it; None if it is no longer there."""
    path = Path(config.dataset.path)
    if config.dataset.source != "file":
        return None
    try:
        kept = path if path.parent == store.home / "data" else store.keep_upload(path, path.name)
    except OSError:
        return None
    return {"key": kept.name, "name": config.dataset.name or path.name}


def _flat(section: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name in type(section).model_fields:
        value, path = getattr(section, name), prefix + name
        if isinstance(value, BaseModel):
            yield from _flat(value, f"{path}.")
        else:
            yield path, shown(path, value)


def _modules(targets: str | list[str]) -> dict[str, Any]:
    if isinstance(targets, str):
        return {"lora.modules": "all-linear", "lora.target_modules": list(LORA_MODULES)}
    chosen = "attention" if targets == ATTENTION else "named"
    return {"lora.modules": chosen, "lora.target_modules": targets}
