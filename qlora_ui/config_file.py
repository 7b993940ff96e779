"""A config that a person wrote by hand: read, or every problem in it said in a sentence."""

import json
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from qlora_ui.config import TrainConfig
from qlora_ui.errors import UserError
from qlora_ui.texts import catalog, text
from qlora_ui.ui.collect import declaration, range_words

# Which field an error of a whole section is about.
OF_SECTION = {"model": "model.name_or_path", "dataset": "dataset.path", "trainer": "trainer.max_steps"}


def read(path: Path) -> TrainConfig:
    """Raises UserError `no_config` or `not_json`, or pydantic's ValidationError: see `problems`."""
    try:
        values = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UserError("no_config", path=str(path), reason=error.strerror or str(error)) from error
    except json.JSONDecodeError as error:
        at = {"line": error.lineno, "column": error.colno}
        raise UserError("not_json", path=str(path), reason=error.msg, **at) from error
    except UnicodeDecodeError as error:
        raise UserError("not_json", path=str(path), reason=error.reason, line=1, column=1) from error
    return TrainConfig.model_validate(values)


def problems(error: ValidationError, language: str) -> list[str]:
    """`trainer.seed: …` for each field: what is wrong and what would be right."""
    found: dict[str, str] = {}
    for entry in error.errors():
        path = _path(entry)
        found.setdefault(path, f"{path or 'CONFIG'}: {_sentence(language, path, entry)}")
    return list(found.values())


def _path(entry: ErrorDetails) -> str:
    parts = [str(part) for part in entry["loc"]]
    if parts[:2] == ["lora", "target_modules"]:
        return "lora.target_modules"  # without the branch of the union, the number of the item
    path = ".".join(parts)
    return OF_SECTION.get(path, path) if entry["type"] in ("hub_id", "absolute_path", "no_steps") else path


def _sentence(language: str, path: str, entry: ErrorDetails) -> str:
    kind = "target_modules" if path == "lora.target_modules" else entry["type"]
    words: dict[str, Any] = dict(entry.get("ctx", {}))
    value = json.dumps(words.get("value", entry["input"]), ensure_ascii=False)
    words["value"] = value if len(value) < 80 else value[:79] + "…"
    if kind == "hub_id":
        words["value"] = value.strip('"')  # its sentence has quotation marks
    declared = declaration(path)
    if declared is not None:
        # Not by the form's path: the form shows shares as per cent.
        words |= {"range": range_words(language, "", declared), "default": declared.default}
        words["choices"] = ", ".join(
            json.dumps(choice, default=str) for choice in get_args(declared.annotation)
        )
    elif kind == "extra_forbidden":
        words["choices"] = ", ".join(_fields(path.split(".")[:-1]))
    for key in (f"cli.invalid.{kind}", f"invalid.{kind}"):
        if key in catalog(language):
            return text(language, key, **words)
    return text(language, "cli.invalid.other", message=entry["msg"], **words)


def _fields(section: list[str]) -> list[str]:
    model: Any = TrainConfig
    for part in section:
        model = model.model_fields[part].annotation
    return list(model.model_fields) if issubclass(model, BaseModel) else []
