"""Files of rows: JSON, JSON lines and CSV, read one row after the other, with the place of what is wrong."""

import csv
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TextIO

import orjson

from qlora_ui.config import Dataset
from qlora_ui.errors import UserError

DEMO_FILE = Path(__file__).parents[2] / "assets" / "demo" / "pirate.jsonl"
CHUNK = 1 << 20  # characters of a JSON array that are held at a time, at least
EXCERPT = 60  # characters shown around a fault
DELIMITERS = ",;\t|"
CONVERSATIONS = ("messages", "conversations")  # a list of these is one row's, not the file's rows

csv.field_size_limit(sys.maxsize)  # an answer may be longer than the module's 128 kB


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it stands in the file. `number`: its line (JSON lines, CSV), else its place, from 1."""

    number: int
    value: dict[str, Any]


def read_rows(dataset: Dataset) -> Iterator[Row]:
    """The rows of the demo data or of a local file.

    Raises UserError: data_file_missing, not_utf8, row_unreadable, row_not_object, row_cells, csv_header,
    no_list_of_rows, no_rows.
    """
    if dataset.source == "demo":
        return read_file(DEMO_FILE, DEMO_FILE.name)
    path = Path(dataset.path)
    return read_file(path, dataset.name or path.name)


def read_file(path: Path, name: str) -> Iterator[Row]:
    """The rows of a file; `name` is what a person called it, and tells its type."""
    reader = _csv_rows if Path(name).suffix.lower() in (".csv", ".tsv") else _json_rows
    empty = True
    try:
        with path.open(encoding="utf-8-sig", newline="" if reader is _csv_rows else None) as stream:
            for row in reader(stream, name):
                empty = False
                yield row
    except FileNotFoundError:
        raise UserError("data_file_missing", file=name) from None
    except UnicodeDecodeError:
        raise UserError("not_utf8", file=name, line=_undecodable_line(path)) from None
    if empty:
        raise UserError("no_rows", file=name)


def _undecodable_line(path: Path) -> int:
    """The first line that is not UTF-8, from 1."""
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 1


def _json_rows(stream: TextIO, name: str) -> Iterator[Row]:
    """By what the file holds, not by its suffix: JSON lines are often called .json."""
    lead = " "
    while lead.isspace():
        lead = stream.read(1)
    stream.seek(0)
    if lead == "[":
        yield from _Array(stream, name).rows()
        return
    rows = _wrapped(_first_value(stream, name))
    if rows is not None:
        yield from (_object(number, value, name) for number, value in enumerate(rows, 1))
    else:
        stream.seek(0)
        yield from _lines(stream, name)


def _first_value(stream: TextIO, name: str) -> Any:
    """The first line's value, or the whole file's if an object stands over several lines; None if faulty."""
    first = _first_line(stream).rstrip()
    stream.seek(0)
    try:
        return json.loads(first)
    except ValueError:
        lines = Path(name).suffix.lower() in (".jsonl", ".ndjson")
        spread = first.startswith("{") and not first.endswith("}") and not lines
        return _whole(stream, name) if spread else None  # else `_lines` will say where the fault is


def _first_line(stream: TextIO) -> str:
    return next((line for line in stream if line.strip()), "")


def _whole(stream: TextIO, name: str) -> Any:
    text = stream.read()
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # objects behind one another: lines after all, but spread out
            raise UserError("rows_spread", file=name, line=error.lineno) from None
        _unreadable(name, error.lineno, error.colno, error.msg, text, error.pos)


def _wrapped(value: Any) -> list[Any] | None:
    """The rows of a file that is one object with one list of rows in it."""
    if not isinstance(value, dict):
        return None
    lists = [
        part
        for key, part in value.items()
        if key not in CONVERSATIONS and isinstance(part, list) and part and isinstance(part[0], dict)
    ]
    return lists[0] if len(lists) == 1 else None


def _lines(stream: TextIO, name: str) -> Iterator[Row]:
    for number, line in enumerate(stream, 1):
        if not (line := line.rstrip()):
            continue
        try:
            value = _decoded(line)
        except json.JSONDecodeError as error:
            _unreadable(name, number, error.colno, error.msg, line, error.pos)
        except (ValueError, RecursionError) as error:
            _unreadable(name, number, 1, str(error), line, 0)
        yield _object(number, value, name)


def _decoded(line: str) -> Any:
    """orjson is several times faster; what it refuses, the standard library takes (NaN) or explains."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return json.loads(line)


def _object(number: int, value: Any, name: str) -> Row:
    if not isinstance(value, dict):
        raise UserError("row_not_object", file=name, row=number, excerpt=_short(json.dumps(value)))
    return Row(number, value)


class _Array:
    """A JSON array of rows, decoded one after the other; holds a chunk of the file, not all of it."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream, self._name = stream, name
        self._buffer, self._at, self._ended = "", 0, False
        self._line, self._column = 1, 1  # of the buffer's first character
        self._decoder = json.JSONDecoder()

    def rows(self) -> Iterator[Row]:
        self._next()
        self._at += 1  # the opening bracket
        if self._next() == "]":
            return
        number = 0
        while True:
            number += 1
            yield _object(number, self._value(), self._name)
            after = self._next()
            if after not in (",", "]"):
                self._fail("Expecting ',' or ']'", self._at)
            self._at += 1
            if after == "]":
                return
            self._next()

    def _next(self) -> str:
        """The next character that is not space, "" at the end of the file."""
        while True:
            while self._at < len(self._buffer) and self._buffer[self._at].isspace():
                self._at += 1
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if self._ended:
                return ""
            self._read()

    def _value(self) -> Any:
        while True:
            try:
                value, self._at = self._decoder.raw_decode(self._buffer, self._at)
                return value
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated") or error.pos > len(self._buffer) - 10
                if self._ended or not cut:
                    self._fail(error.msg, error.pos)
                self._read()
            except (ValueError, RecursionError) as error:
                self._fail(str(error), self._at)

    def _read(self) -> None:
        """Forget what was decoded, and read on: as much again as is left, so that a large row stays cheap."""
        gone = self._buffer[: self._at]
        newlines = gone.count("\n")
        self._line += newlines
        self._column = len(gone) - gone.rfind("\n") if newlines else self._column + len(gone)
        left = self._buffer[self._at :]
        more = self._stream.read(max(CHUNK, len(left)))
        self._buffer, self._at, self._ended = left + more, 0, not more

    def _fail(self, reason: str, at: int) -> NoReturn:
        before = self._buffer[:at]
        newlines = before.count("\n")
        column = len(before) - before.rfind("\n") if newlines else self._column + len(before)
        _unreadable(self._name, self._line + newlines, column, reason, self._buffer, at)


def _csv_rows(stream: TextIO, name: str) -> Iterator[Row]:
    start = _first_line(stream)
    stream.seek(0)
    delimiter = max(DELIMITERS, key=start.count)
    reader = csv.reader(stream, delimiter=delimiter, strict=True)
    columns: list[str] = []
    line = 1
    try:
        for cells in reader:
            if not any(cells):
                pass
            elif not columns:
                columns = _header(cells, name)
            elif len(cells) != len(columns):
                raise UserError("row_cells", file=name, line=line, cells=len(cells), columns=len(columns))
            else:
                yield Row(line, dict(zip(columns, cells, strict=True)))
            line = reader.line_num + 1
    except csv.Error as error:
        _unreadable(name, line, 1, str(error), "", 0)


def _header(cells: list[str], name: str) -> list[str]:
    columns = [cell.strip() for cell in cells]
    if "" in columns or len(set(columns)) < len(columns):
        raise UserError("csv_header", file=name, columns=", ".join(columns))
    return columns


def _unreadable(name: str, line: int, column: int, reason: str, text: str, at: int) -> NoReturn:
    start, end = max(0, at - EXCERPT // 2), at + EXCERPT // 2
    excerpt = "…" * (start > 0) + _short(text[start:end]) + "…" * (end < len(text))
    raise UserError("row_unreadable", file=name, line=line, column=column, reason=reason, excerpt=excerpt)


def _short(text: str) -> str:
    """In one line, cut to a length that a person takes in."""
    line = " ".join(text.split())
    return line if len(line) <= EXCERPT else line[: EXCERPT - 1] + "…"
