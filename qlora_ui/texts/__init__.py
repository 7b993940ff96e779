"""Every sentence a person reads, by key: one JSON file per language, same keys in each."""

import json
from functools import cache
from pathlib import Path
from typing import Any

LANGUAGES = {"en": "English", "zh": "中文"}


@cache
def catalog(language: str) -> dict[str, str]:
    """All texts of one language, key → sentence. Raises KeyError for a language there is no file of."""
    if language not in LANGUAGES:
        raise KeyError(language)
    texts: dict[str, str] = json.loads((Path(__file__).parent / f"{language}.json").read_text("utf-8"))
    return texts


def text(language: str, key: str, **values: Any) -> str:
    """The sentence of `key` with its placeholders filled. Raises KeyError for an unknown key or value."""
    return catalog(language)[key].format(**values)


def error_text(language: str, key: str, values: dict[str, Any]) -> tuple[str, str]:
    """What happened and what to do about it, for a `UserError`'s or a `Failure` event's key and values."""
    return text(language, f"error.{key}.what", **values), text(language, f"error.{key}.do", **values)
