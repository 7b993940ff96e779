"""Every sentence exists in every language, and the code asks for none that does not."""

import ast
import errno
import json
import os
import re
import string
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from qlora_ui.events import PHASES
from qlora_ui.jobs import JobState
from qlora_ui.launchers.local import ROOT
from qlora_ui.texts import LANGUAGES, catalog, error_text, reason

SOURCES = sorted((ROOT / "qlora_ui").rglob("*.py")) + [ROOT / "app.py"]
KEY = re.compile(r"(field|invalid|error|log|phase|state|preset|metric|term|ui|cli|check|reason)(\.[\w-]+)+")
HALF_WIDTH = re.compile(r"[\u4e00-\u9fff][,;!?]|[\u4e00-\u9fff]:(?!//)|[\u4e00-\u9fff]\.(?![\w/])")


def placeholders(sentence: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(sentence) if name is not None}


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text("utf-8"))


def calls(name: str) -> Iterator[tuple[str, set[str]]]:
    """Literal first argument ("" if it is none) and names of the values of each call of that name."""
    for file in SOURCES:
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.Call) and node.args:
                first = node.args[0]
                if name in (getattr(node.func, "id", ""), getattr(node.func, "attr", "")):
                    words = {word.arg or "**" for word in node.keywords}
                    yield str(first.value) if isinstance(first, ast.Constant) else "", words


def test_languages_have_the_same_keys_and_placeholders() -> None:
    english = catalog("en")
    for language in LANGUAGES:
        assert set(catalog(language)) == set(english), language
        wrong = [
            key for key, said in catalog(language).items() if placeholders(said) != placeholders(english[key])
        ]
        assert not wrong, language


def test_no_sentence_is_empty_or_left_in_english() -> None:
    assert not [key for language in LANGUAGES for key, said in catalog(language).items() if not said.strip()]
    long = [key for key, said in catalog("en").items() if len(said.split()) > 4]
    assert len(long) > 100
    assert not [key for key in long if catalog("zh")[key] == catalog("en")[key]]


def test_chinese_has_full_width_punctuation() -> None:
    assert not {key: said for key, said in catalog("zh").items() if HALF_WIDTH.search(said)}


def test_every_error_says_what_happened_and_what_to_do() -> None:
    errors = {key.rpartition(".")[0] for key in catalog("en") if key.startswith("error.")}
    assert not [
        key for error in errors for key in (f"{error}.what", f"{error}.do") if key not in catalog("en")
    ]


def test_every_key_in_the_code_exists() -> None:
    found = set()
    for file in SOURCES:
        nodes = list(ast.walk(tree(file)))
        parts = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
        found |= {
            node.value
            for node in nodes
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in parts
            and KEY.fullmatch(node.value)
        }
    assert len(found) > 30
    assert not sorted(found - set(catalog("en")))


def test_every_error_raised_has_its_sentences_and_their_values() -> None:
    raised = list(calls("UserError"))
    assert len(raised) > 10
    # `raise UserError(error.key, file=name, **error.values)`: what a caller knows and adds.
    added = {name for key, names in raised if not key for name in names} - {"**"}
    for key, names in raised:
        if key:
            needed = placeholders(catalog("en")[f"error.{key}.what"] + catalog("en")[f"error.{key}.do"])
            assert needed <= names | added or "**" in names, key


def test_every_line_of_the_log_has_its_sentence_and_its_values() -> None:
    lines = [(key, names) for key, names in calls("log") if key.isidentifier()]
    assert lines
    for key, names in lines:
        assert placeholders(catalog("en")[f"log.{key}"]) <= names or "**" in names, key


def test_every_phase_and_state_has_its_name() -> None:
    keys = [f"phase.{phase}" for phase in PHASES] + [f"state.{state}" for state in JobState]
    keys += [f"state.stopped.{reason}" for reason in ("user", "cancelled", "interrupted")]
    assert not set(keys) - set(catalog("en"))


BROKEN = [
    '{"a" 1}',
    "{a: 1}",
    '{"a": }',
    '{"a": 1} x',
    r'{"a": "\q"}',
    r'{"a": "\u12"}',
    '{"a": "\n"}',
    '{"a": "b',
    "[" * 10**5,
]


def test_what_the_json_parser_says_is_said_in_the_readers_language() -> None:
    for broken in BROKEN:
        with pytest.raises((ValueError, RecursionError)) as caught:
            json.loads(broken)
        words = getattr(caught.value, "msg", str(caught.value))
        said = error_text(
            "zh", "row_unreadable", {"file": "", "line": 1, "column": 1, "reason": words, "excerpt": ""}
        )
        assert words not in said[0] and not re.search("[a-z]{4}", said[0]), words


def test_words_that_nobody_knows_are_left_as_they_are() -> None:
    assert reason("zh", "the moon is full") == "the moon is full"
    assert reason("zh", os.strerror(errno.ENOSPC)) == "磁盘已满"
