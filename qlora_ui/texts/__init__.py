"""Every sentence a person reads, by key: one JSON file per language, same keys in each."""

import json
import re
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
    if isinstance(values.get("reason"), str):
        values = {**values, "reason": reason(language, values["reason"])}
    if key == "row_wrong_type":
        kinds = {
            name: catalog(language).get(f"kind.{values[name]}", values[name])
            for name in ("expected", "found")
        }
        values = {**values, **kinds}
    return text(language, f"error.{key}.what", **values), text(language, f"error.{key}.do", **values)


def reason(language: str, words: str) -> str:
    """A library's or the system's own words in the reader's language, where they are well known."""
    slug = re.sub(r"[^a-z]+", "_", words.lower()).strip("_")
    known = [key for key in catalog(language) if key.startswith("reason.") and slug.startswith(key[7:])]
    return text(language, max(known, key=len)) if known else words
