"""After an out of memory or an exploded loss: what happened in figures, what would help, one press away."""

from pathlib import Path
from typing import Any

from qlora_ui import attempts, checkpoints, models, plans
from qlora_ui.attempts import MICRO_BATCH
from qlora_ui.config import Model, TrainConfig
from qlora_ui.jobs import Job, JobState
from qlora_ui.plans import CHECKPOINTING, LENGTH, RANK, RATE, Change
from qlora_ui.texts import catalog, text
from qlora_ui.texts.quantities import BYTES, is_number, size

ERRORS = ("out_of_gpu_memory", "out_of_memory", "killed_for_memory")
EXPLODED = ("loss_not_finite", "loss_exploded")
NAMES = {MICRO_BATCH: "micro", CHECKPOINTING: "checkpointing", LENGTH: "length", RANK: "rank"}


def suggested(job: Job, folder: Path) -> list[Change]:
    """What would help a job that ran out of memory, or whose loss exploded; nothing for any other."""
    key = (job.error or {}).get("key")
    if job.state is not JobState.FAILED or key not in (*ERRORS, *EXPLODED):
        return []
    try:
        config = attempts.config(folder, job.attempt)
    except (OSError, ValueError):
        return []
    if key in EXPLODED:
        return [plans.calmer(config)]
    values = {name: value for name, value in _values(job).items() if is_number(value)}
    return plans.changes(config, facts(config.model), values, on_gpu=bool(job.device))


def facts(model: Model) -> models.ModelFacts | None:
    """Of a model that a job has used, wherever it lies."""
    if model.source == "demo":
        return models.demo_facts()
    if model.source == "folder":
        return models.facts(Path(model.name_or_path))
    snapshot = models.hub_cache() / f"models--{model.name_or_path.replace('/', '--')}"
    try:
        commit = (snapshot / "refs" / model.revision).read_text("ascii").strip()
    except (OSError, ValueError):
        commit = model.revision
    return models.facts(snapshot / "snapshots" / commit)


def figures(language: str, job: Job) -> str:
    """In which phase it happened, what was asked and what was free (0: not known); "" where nothing is."""
    values = _values(job)
    if (job.error or {}).get("key") == "killed_for_memory":
        return ""  # its sentence has them
    known = [(name, values[name]) for name in BYTES if is_number(values.get(name)) and values[name] > 0]
    parts = [text(language, f"ui.memory.{name}", size=size(value)) for name, value in known]
    if not parts:
        return ""
    phase = catalog(language).get(f"phase.{values.get('phase')}")
    if phase:
        parts.insert(0, text(language, "ui.memory.phase", phase=phase))
    return " · ".join(parts)


def shown(language: str, job: Job, folder: Path, changes: tuple[Change, ...]) -> list[dict[str, Any]]:
    """The changes as the page lists them."""
    try:
        now = attempts.config(folder, job.attempt) if changes else None
    except (OSError, ValueError):  # deleted meanwhile
        now = None
    if now is None:
        return []
    saved = checkpoints.latest(folder)
    return [
        {
            "what": _capital(described(language, change.overrides, now)),
            "saves": _saves(language, change),
            "how": _how(language, change, saved.step if saved else None),
            "overrides": change.overrides,
        }
        for change in changes
    ]


def described(language: str, overrides: dict[str, Any], before: TrainConfig) -> str:
    """Overrides in words, each with the value it had."""
    parts = []
    for path, value in overrides.items():
        section, _, field = path.partition(".")
        old = getattr(getattr(before, section), field)
        label = catalog(language).get(f"field.{path}.label", path)
        key = f"ui.memory.change.{NAMES.get(path, 'other')}"
        parts.append(text(language, key, new=value, old=old, label=label))
    return text(language, "ui.memory.and").join(parts)


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _saves(language: str, change: Change) -> str:
    if not change.saves:
        return ""
    key = "ui.memory.saves_enough" if change.fits else "ui.memory.saves"
    return text(language, key, size=size(max(0, change.saves)))


def _how(language: str, change: Change, step: int | None) -> str:
    if step is None:
        return text(language, "ui.memory.way.start")
    if RATE in change.overrides:
        return text(language, "ui.memory.way.calmer", step=f"{step:,}")
    return text(language, f"ui.memory.way.{change.way}", step=f"{step:,}")


def _values(job: Job) -> dict[str, Any]:
    return (job.error or {}).get("values") or {}
