"""Rows → what a model learns from: their format found, converted, split; and a quick look at a file."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from qlora_ui.config import Dataset
from qlora_ui.data import formats
from qlora_ui.data.readers import DEMO_FILE, Row, read_file, read_rows
from qlora_ui.errors import UserError

Message = dict[str, Any]
LOOK = 20_000  # rows a quick look converts; of a larger file it counts the others


@dataclass(frozen=True, slots=True)
class Example:
    """One row to learn from: a conversation, or a plain text. `row` is its number in the file."""

    row: int
    messages: list[Message] | None
    text: str | None


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a quick look at a file found. `usable` rows have an answer to learn; `sample` is one as text, and
    `length` the mean of those looked at, in bytes of UTF-8."""

    format: str
    rows: int
    usable: int
    problem: UserError | None
    sample: str
    length: float = 0.0


def load(
    dataset: Dataset, rows: Iterable[Row] | None = None, skipped: Callable[[int], None] | None = None
) -> list[Example]:
    """All rows as examples. Rows without an answer are left out, their numbers told to `skipped`.

    `rows`: those of a Hub data set, read by the worker. Raises UserError with file and row as `readers` and
    `formats` do; no_rows_with_answer if none is left.
    """
    name = _name(dataset)
    format, rows = _detected(read_rows(dataset) if rows is None else rows, dataset.format, name)
    examples, empty = [], 0
    for row in rows:
        example = _example(row, format, name)
        if example:
            examples.append(example)
            continue
        empty += 1
        if skipped:
            skipped(row.number)
    if not examples:
        raise UserError("no_rows_with_answer", file=name, rows=empty)
    return examples


def held_out(rows: int, share: float) -> int:
    """How many of `rows` are kept from training: at least 1 if any share is asked for and 2 are there."""
    if share <= 0 or rows < 2:
        return 0
    return min(rows - 1, max(1, round(rows * share)))


def split(examples: Sequence[Example], eval_share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """(to learn from, held out), both in the file's order; the same for the same seed."""
    count = held_out(len(examples), eval_share)
    chosen = set(random.Random(seed).sample(range(len(examples)), count))
    learned = [example for index, example in enumerate(examples) if index not in chosen]
    return learned, [examples[index] for index in sorted(chosen)]


def inspect(path: Path | None, name: str, format: str = "auto") -> Inspection:
    """A quick look at a file (None: the demo data) for the page: never raises for what is wrong in it."""
    path, name = (DEMO_FILE, DEMO_FILE.name) if path is None else (path, name or path.name)
    rows = usable = size = 0
    sample = ""
    try:
        format, found = _detected(read_file(path, name), format, name)
        for row in islice(found, LOOK):
            rows += 1
            if example := _example(row, format, name):
                usable += 1
                sample = sample or plain(example)
                size += len(plain(example).encode())
        rest = sum(1 for _ in found)
    except UserError as problem:
        return Inspection(format, rows, usable, problem, sample)
    if not usable:
        return Inspection(format, rows, 0, UserError("no_rows_with_answer", file=name, rows=rows), sample)
    return Inspection(format, rows + rest, usable + rest, None, sample, size / usable)


def plain(example: Example) -> str:
    """An example as a person reads it: a line `role: words` for each message, or the text."""
    if example.messages is None:
        return example.text or ""
    return "\n".join(f"{message['role']}: {message['content']}" for message in example.messages)


def _name(dataset: Dataset) -> str:
    """What errors call a data set."""
    if dataset.source == "demo":
        return DEMO_FILE.name
    return dataset.path if dataset.source == "hub" else dataset.name or Path(dataset.path).name


def _detected(rows: Iterable[Row], format: str, name: str) -> tuple[str, Iterator[Row]]:
    """The format's name, found from the first row if it is `auto`, and all rows."""
    rows = iter(rows)
    first = next(rows, None)
    if first is None:
        raise UserError("no_rows", file=name)
    if format == "auto":
        with _placed(name, first.number):
            format = formats.detect([first.value])
    return format, chain([first], rows)


def _example(row: Row, format: str, name: str) -> Example | None:
    """The row converted, None if it has no answer. Raises UserError with file and row."""
    try:
        with _placed(name, row.number):
            converted = formats.FORMATS[format](row.value)
    except UserError as error:
        if error.key == "row_empty_answer":
            return None
        raise
    return Example(row.number, converted.get("messages"), converted.get("text"))


@contextmanager
def _placed(name: str, row: int) -> Iterator[None]:
    """Adds to a UserError of a row the file's name and the row's number."""
    try:
        yield
    except UserError as error:
        raise UserError(error.key, file=name, row=row, **error.values) from None
