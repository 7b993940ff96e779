"""What stands in the form → TrainConfig; pydantic's errors → a sentence for each field.

`values` is a dict by field path (`lora.r`). Most paths are the config's own; these are the form's:
`model.hub`, `model.folder`, `dataset.file` ({path, name} of an upload, or None), `dataset.hub`, `length`
(epochs or steps) and `lora.modules` (all-linear, attention, named).
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import annotated_types
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from qlora_ui.config import LORA_MODULES, TrainConfig
from qlora_ui.presets import demo_config
from qlora_ui.texts import catalog, text

ATTENTION = [name for name in LORA_MODULES if name in ("q_proj", "k_proj", "v_proj", "o_proj")]
PER_CENT = {"dataset.eval_share"}  # shown as per cent, kept as a share
# A choice with a third answer: the form's words for it → the config's value.
THREE = {"auto": None, "on": True, "off": False}
CHOICES = {"trainer.activation_checkpointing": THREE}
SECTIONS = ("dataset", "quantization", "lora", "trainer", "batch", "keep")
EXAMPLES = {"model.hub": "HuggingFaceTB/SmolLM2-360M-Instruct", "dataset.hub": "tatsu-lab/alpaca"}
INDEX = re.compile(r"\.\d+$")


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one field: the text `invalid.<kind>` and its values."""

    field: str
    kind: str
    values: Mapping[str, Any]

    def message(self, language: str) -> str:
        key = f"invalid.{self.kind}"
        return text(language, key if key in catalog(language) else "invalid.other", **self._words(language))

    def _words(self, language: str) -> dict[str, Any]:
        words = dict(self.values)
        if (declared := declaration(self.field)) is not None:
            words["range"] = range_words(language, self.field, declared)
            first = initial(self.field)
            words["default"] = f"{first:g}" if isinstance(first, float) else first
        return words


class Invalid(Exception):
    """The form cannot be started as it stands; `problems` in no order. `draft`: what it describes with
    defaults in their places, for the words that move with the rest."""

    def __init__(self, problems: list[Problem], draft: TrainConfig) -> None:
        super().__init__([problem.field for problem in problems])
        self.problems = problems
        self.draft = draft


def collect(values: Mapping[str, Any]) -> TrainConfig:
    """The config that the form describes. Raises Invalid."""
    tree: dict[str, Any] = {section: _section(values, section) for section in SECTIONS}
    tree["name"] = str(values.get("name") or "").strip()
    tree["parent"] = values.get("parent") or ""
    tree["model"] = _model(values)
    missing = _dataset(values, tree["dataset"])
    tree["lora"]["target_modules"] = _modules(values)
    if values.get("length") == "epochs":
        tree["trainer"]["max_steps"] = -1
    elif values.get("length") == "steps":
        tree["trainer"].pop("num_train_epochs", None)
        if tree["trainer"].get("max_steps") == -1:
            tree["trainer"]["max_steps"] = 0
    try:
        config = TrainConfig.model_validate(tree)
    except ValidationError as error:
        raise Invalid(missing + _problems(error, values), _draft(tree, error)) from error
    if missing:
        raise Invalid(missing, config)
    return config


def initial(path: str) -> Any:
    """What a field of the config shows on the first visit: the demo's job."""
    value: Any = demo_config()
    for part in path.split("."):
        value = getattr(value, part)
    return shown(path, value)


def shown(path: str, value: Any) -> Any:
    """A value of the config as its field on the form holds it."""
    if path in CHOICES:
        return next(word for word, meant in CHOICES[path].items() if meant is value)
    return round(100 * value, 6) if path in PER_CENT else value


def declaration(path: str) -> FieldInfo | None:
    """The declaration in `config.py` of a field path; None for a field of the form only."""
    model: Any = TrainConfig
    found = None
    for part in path.split("."):
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return None
        found = model.model_fields.get(part)
        if found is None:
            return None
        model = found.annotation
    return found


def bounds(path: str, declared: FieldInfo) -> tuple[float, float, bool]:
    """(lowest, highest, whether the lowest itself is allowed) of a number, infinite where there is none."""
    low, high, closed = -math.inf, math.inf, True
    for rule in declared.metadata:
        if isinstance(rule, annotated_types.Ge):
            low = rule.ge  # type: ignore[assignment]
        elif isinstance(rule, annotated_types.Gt):
            low, closed = rule.gt, False  # type: ignore[assignment]
        elif isinstance(rule, annotated_types.Le):
            high = rule.le  # type: ignore[assignment]
    return (low * 100, high * 100, closed) if path in PER_CENT else (low, high, closed)


def range_words(language: str, path: str, declared: FieldInfo) -> str:
    """The bounds in words, "" where there are none."""
    low, high, closed = bounds(path, declared)
    if math.isinf(low):
        return ""
    kind = "above" if math.isinf(high) else "closed" if closed else "open"
    return text(language, f"ui.range.{kind}", low=f"{low:g}", high=_plain(high))


def _plain(number: float) -> str:
    return f"{number:,.0f}" if number >= 10_000 else f"{number:g}"


def _draft(tree: dict[str, Any], error: ValidationError) -> TrainConfig:
    """The config without what is wrong in it."""
    for entry in error.errors():
        section, *rest = (str(part) for part in entry["loc"])
        if rest and isinstance(tree[section], dict):
            tree[section].pop(rest[0], None)
        else:
            tree.pop(section, None)
    return TrainConfig.model_validate(tree)


def _section(values: Mapping[str, Any], section: str) -> dict[str, Any]:
    """The fields of the form that are the config's own, of one section."""
    found = {}
    for path, value in values.items():
        if path.startswith(f"{section}.") and declaration(path) is not None:
            found[path.split(".", 1)[1]] = _meant(path, value)
    return found


def _meant(path: str, value: Any) -> Any:
    """What a field holds as the config has it."""
    if path in CHOICES:
        return CHOICES[path].get(str(value), value)
    return value / 100 if path in PER_CENT and isinstance(value, int | float) else value


def _model(values: Mapping[str, Any]) -> dict[str, Any]:
    source = values.get("model.source")
    if source == "demo":
        return demo_config().model.model_dump()
    named = str(values.get(f"model.{source}") or "").strip()
    return {"source": source, "name_or_path": named, "revision": values.get("model.revision") or "main"}


def _dataset(values: Mapping[str, Any], tree: dict[str, Any]) -> list[Problem]:
    """Fills path and name; a problem where a file was promised and none is there."""
    source = values.get("dataset.source")
    if source == "hub":
        tree["path"] = str(values.get("dataset.hub") or "").strip()
        return []
    for name in ("subset", "split"):
        tree.pop(name, None)
    if source != "file":
        return []
    if not (upload := values.get("dataset.file")):
        tree["source"] = "demo"  # so that the rest is still checked
        return [Problem("dataset.file", "no_file", {})]
    tree["path"], tree["name"] = upload["path"], upload["name"]
    return []


def _modules(values: Mapping[str, Any]) -> Any:
    chosen = values.get("lora.modules", "all-linear")
    return {"attention": ATTENTION, "named": values.get("lora.target_modules")}.get(chosen, "all-linear")


def _problems(error: ValidationError, values: Mapping[str, Any]) -> list[Problem]:
    found: dict[str, Problem] = {}
    for entry in error.errors():
        path = ".".join(str(part) for part in entry["loc"])
        field = _shown_at(path, values)
        typed = values.get(field) if field in PER_CENT else entry["input"]
        context = {"value": typed, **entry.get("ctx", {})}
        kind = entry["type"]
        if kind == "hub_id" and not context["value"]:
            kind, context["example"] = "hub_missing", EXAMPLES[field]
        if field == "trainer.max_steps":
            kind = "no_steps"  # its -1, by epochs, is another choice on the form
        found.setdefault(field, Problem(field, kind, context))
    return list(found.values())


def _shown_at(path: str, values: Mapping[str, Any]) -> str:
    """The field of the form beside which an error of the config is said."""
    if path.startswith("lora.target_modules"):
        return "lora.target_modules"  # its errors end in the union's branch and the item's number
    if path in ("model", "model.name_or_path"):
        return f"model.{values.get('model.source')}"
    if path in ("dataset", "dataset.path"):
        return f"dataset.{values.get('dataset.source')}"
    if path == "trainer":
        return "trainer.max_steps"
    return INDEX.sub("", path)
