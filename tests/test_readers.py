"""Files of rows: what is read, and that the place of a fault is the right one."""

import json
from pathlib import Path

import pytest

from qlora_ui.data import readers
from qlora_ui.data.readers import read_file
from qlora_ui.errors import UserError

ROWS = [{"text": "one"}, {"text": 'two, with "quotes" and ünïcode'}, {"text": "three\nlines\n"}]


def read(tmp_path: Path, content: str | bytes, name: str) -> list[tuple[int, dict]]:
    path = tmp_path / "upload"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [(row.number, row.value) for row in read_file(path, name)]


def refusal(tmp_path: Path, content: str | bytes, name: str) -> UserError:
    with pytest.raises(UserError) as caught:
        read(tmp_path, content, name)
    assert caught.value.values["file"] == name
    return caught.value


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(ROWS),
        json.dumps(ROWS, indent=2),
        "\ufeff \n" + json.dumps(ROWS),
        json.dumps({"data": ROWS}),
        json.dumps({"version": 1, "note": "x", "rows": ROWS}, indent=1),
        "\n".join(map(json.dumps, ROWS)),  # lines in a file called .json
    ],
    ids=["array", "indented", "byte order mark", "wrapped", "wrapped indented", "lines"],
)
def test_json_of_any_layout(tmp_path, content):
    assert read(tmp_path, content, "data.json") == list(enumerate(ROWS, 1))


def test_an_array_is_read_in_chunks_of_any_size(tmp_path, monkeypatch):
    for chunk in (1, 2, 7, 64):
        monkeypatch.setattr(readers, "CHUNK", chunk)
        assert read(tmp_path, json.dumps(ROWS, indent=1), "data.json") == list(enumerate(ROWS, 1))


def test_a_fault_in_an_array_is_placed_whatever_the_chunk(tmp_path, monkeypatch):
    content = '[\n {"text": "one"},\n {"text": "two" "oops": 1},\n {"text": "three"}\n]'
    for chunk in (1, 5, 1 << 20):
        monkeypatch.setattr(readers, "CHUNK", chunk)
        error = refusal(tmp_path, content, "data.json")
        assert error.key == "row_unreadable"
        assert (error.values["line"], error.values["column"]) == (3, 17)
        assert "oops" in error.values["excerpt"]


@pytest.mark.parametrize(
    ("content", "line"),
    [('[{"a": 1} {"a": 2}]', 1), ('[{"a": 1},\n]', 2), ('[\n{"a": 1},\n{"a": ', 3), ('[{"a": 1}\n', 2)],
    ids=["no comma", "comma too many", "cut off", "never closed"],
)
def test_a_broken_array_is_refused(tmp_path, content, line):
    error = refusal(tmp_path, content, "data.json")
    assert (error.key, error.values["line"]) == ("row_unreadable", line)


def test_a_far_fault_is_found_without_reading_the_rest(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "CHUNK", 1000)
    path = tmp_path / "big.json"
    path.write_text("[" + '{"text" "no colon"},' * 10_000 + "]")
    with path.open() as stream:
        with pytest.raises(UserError):
            list(readers._Array(stream, "big.json").rows())
        assert stream.tell() < 20_000


def test_lines_are_numbered_as_an_editor_does(tmp_path):
    content = '{"text": "one"}\r\n\r\n{"text": "two"}\r\n'
    assert read(tmp_path, content, "data.jsonl") == [(1, {"text": "one"}), (3, {"text": "two"})]


@pytest.mark.parametrize("bad", ['{"text": "two" "x"}', '{"text": "two"', "not json", '{"text": "a\tb"}'])
def test_a_bad_line_is_named(tmp_path, bad):
    error = refusal(tmp_path, f'{{"text": "one"}}\n\n{bad}\n{{"text": "four"}}\n', "data.jsonl")
    assert error.key == "row_unreadable"
    assert error.values["line"] == 3
    assert error.values["column"] > 0


@pytest.mark.parametrize("bad", ['{"text": "two" "x"}', '{"text": "two"', "nonsense"])
def test_a_bad_first_line_is_named(tmp_path, bad):
    error = refusal(tmp_path, f'{bad}\n{{"text": "two"}}\n', "data.jsonl")
    assert (error.key, error.values["line"]) == ("row_unreadable", 1)


def test_what_python_writes_is_read(tmp_path):
    assert read(tmp_path, '{"text": "a", "score": Infinity}\n', "data.jsonl")[0][1]["score"] == float("inf")


def test_deep_nesting_is_a_fault_of_its_line(tmp_path):
    error = refusal(tmp_path, '{"a": 1}\n' + "[" * 100_000 + "\n", "data.jsonl")
    assert (error.key, error.values["line"]) == ("row_unreadable", 2)


def test_rows_that_are_no_objects(tmp_path):
    assert refusal(tmp_path, '{"a": 1}\n[1, 2]\n', "d.jsonl").values["row"] == 2
    assert refusal(tmp_path, '["one", "two"]', "d.json").key == "row_not_object"


def test_objects_spread_over_lines_are_explained(tmp_path):
    error = refusal(tmp_path, '{\n "a": 1\n}\n{\n "a": 2\n}\n', "d.json")
    assert (error.key, error.values["line"]) == ("rows_spread", 4)


def test_one_conversation_is_a_row_not_a_wrapper(tmp_path):
    row = {"messages": [{"role": "user", "content": "hi"}]}
    assert read(tmp_path, json.dumps(row), "d.json") == [(1, row)]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv(tmp_path, delimiter):
    content = f'\ufeffprompt{delimiter}completion\r\n"a, ""b""\nc"{delimiter}1\r\n\r\nq{delimiter}2\r\n'
    rows = read(tmp_path, content, "data.CSV")
    assert rows == [(2, {"prompt": 'a, "b"\nc', "completion": "1"}), (5, {"prompt": "q", "completion": "2"})]


def test_a_long_cell(tmp_path):
    assert read(tmp_path, f"text,x\n{'a' * 200_000},1\n", "d.csv")[0][1]["text"] == "a" * 200_000


def test_csv_faults(tmp_path):
    error = refusal(tmp_path, "a,b\n1,2\n1,2,3\n", "d.csv")
    assert (error.key, error.values["line"], error.values["cells"]) == ("row_cells", 3, 3)
    error = refusal(tmp_path, 'a,b\n1,2\n"x"y,2\n', "d.csv")
    assert (error.key, error.values["line"]) == ("row_unreadable", 3)
    assert refusal(tmp_path, "a,a\n1,2\n", "d.csv").key == "csv_header"
    assert refusal(tmp_path, "a,\n1,2\n", "d.csv").key == "csv_header"


def test_another_encoding_is_named_with_its_line(tmp_path):
    error = refusal(tmp_path, b"text\nok\n" + "你好\n".encode("gb18030"), "d.csv")
    assert (error.key, error.values["line"]) == ("not_utf8", 3)


@pytest.mark.parametrize(("content", "name"), [("", "d.jsonl"), ("[]", "d.json"), ("a,b\n", "d.csv")])
def test_nothing_in_it(tmp_path, content, name):
    assert refusal(tmp_path, content, name).key == "no_rows"


def test_a_file_that_is_gone(tmp_path):
    with pytest.raises(UserError, match="data_file_missing"):
        list(read_file(tmp_path / "gone", "gone.json"))
