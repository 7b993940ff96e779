"""From a file to examples: loading, splitting, and the page's quick look."""

import json

import pytest

from qlora_ui.config import Dataset, FormatName
from qlora_ui.data import examples
from qlora_ui.data.examples import Example, held_out, inspect, load, split
from qlora_ui.data.formats import FORMATS
from qlora_ui.data.readers import Row
from qlora_ui.errors import UserError
from qlora_ui.texts import LANGUAGES, error_text


def pairs(*answers: str) -> str:
    rows = ({"prompt": f"Q{number}", "completion": answer} for number, answer in enumerate(answers, 1))
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def dataset(tmp_path):
    def make(content: str, name: str = "mine.jsonl", **more) -> Dataset:
        path = tmp_path / "0123.jsonl"
        path.write_text(content, "utf-8")
        return Dataset(source="file", path=str(path), name=name, **more)

    return make


def test_rows_become_examples_with_their_line(dataset):
    loaded = load(dataset("\n" + pairs("A1", "A2")))
    assert [example.row for example in loaded] == [2, 3]
    assert loaded[1].messages == [{"role": "user", "content": "Q2"}, {"role": "assistant", "content": "A2"}]
    assert loaded[1].text is None


def test_rows_without_an_answer_are_left_out_and_told(dataset):
    skipped: list[int] = []
    assert [example.row for example in load(dataset(pairs("A", "", "C")), skipped=skipped.append)] == [1, 3]
    assert skipped == [2]


def test_a_wrong_row_stops_it_with_file_and_row(dataset):
    with pytest.raises(UserError) as caught:
        load(dataset(pairs("A") + '{"prompt": "Q", "completion": 5}\n'))
    assert caught.value.key == "row_wrong_type"
    assert (caught.value.values["file"], caught.value.values["row"]) == ("mine.jsonl", 2)


def test_no_answers_at_all(dataset):
    with pytest.raises(UserError) as caught:
        load(dataset(pairs("", " ")))
    assert (caught.value.key, caught.value.values["rows"]) == ("no_rows_with_answer", 2)


def test_a_chosen_format_is_kept_to(dataset):
    content = json.dumps({"instruction": "Q", "output": "A", "text": "T"})
    assert load(dataset(content))[0].text is None
    assert load(dataset(content, format="text"))[0].text == "T"
    with pytest.raises(UserError, match="row_no_field"):
        load(dataset(content, format="messages"))


def test_rows_can_come_from_elsewhere():
    hub = Dataset(source="hub", path="someone/data")
    assert load(hub, rows=[Row(1, {"text": "T"})]) == [Example(1, None, "T")]
    with pytest.raises(UserError) as caught:
        load(hub, rows=[Row(1, {"foo": "T"})])
    assert caught.value.values["file"] == "someone/data"


def test_the_config_offers_every_format():
    assert set(FormatName.__args__) == {"auto", *FORMATS}


@pytest.mark.parametrize(
    ("rows", "share", "held"),
    [
        (100, 0.05, 5),
        (3, 0.05, 1),
        (2, 0.5, 1),
        (1, 0.5, 0),
        (0, 0.5, 0),
        (100, 0, 0),
        (3, 0.5, 2),
        (2, 0.01, 1),
    ],
)
def test_how_many_are_held_out(rows, share, held):
    assert held_out(rows, share) == held
    learned, kept = split([Example(number, None, "x") for number in range(rows)], share, seed=1)
    assert (len(learned), len(kept)) == (rows - held, held)


def test_the_split_depends_on_the_seed_alone():
    rows = [Example(number, None, "x") for number in range(100)]
    learned, kept = split(rows, 0.1, seed=1)
    assert split(rows, 0.1, seed=1) == (learned, kept)
    assert split(rows, 0.1, seed=2)[1] != kept
    assert sorted([*learned, *kept], key=lambda example: example.row) == rows


def test_the_demo_data():
    rows = load(Dataset())
    assert len(rows) >= 200
    questions = [example.messages[0]["content"] for example in rows if example.messages]
    answers = [example.messages[1]["content"] for example in rows if example.messages]
    assert len(set(questions)) == len(set(answers)) == len(rows)
    assert all(answer.startswith("Arr, matey! ") for answer in answers)
    found = inspect(None, "")
    assert (found.format, found.rows, found.usable, found.problem) == ("messages", len(rows), len(rows), None)
    assert found.sample.startswith("user: What is the capital of France?\nassistant: Arr")


def test_a_look_counts_what_it_does_not_convert(tmp_path, monkeypatch):
    path = tmp_path / "big.jsonl"
    path.write_text(pairs("A", "", "C", "D", "E"))
    monkeypatch.setattr(examples, "LOOK", 3)
    found = inspect(path, "")
    assert (found.format, found.rows, found.usable, found.problem) == ("prompt_completion", 5, 4, None)
    assert found.sample == "user: Q1\nassistant: A"


@pytest.mark.parametrize(
    ("content", "name", "key"),
    [
        ("", "d.jsonl", "no_rows"),
        (pairs("A") + "oops\n", "d.jsonl", "row_unreadable"),
        ('{\n"a": 1}\n{\n"a": 2}', "d.json", "rows_spread"),
        ('["a"]', "d.json", "row_not_object"),
        ("a,b\n1\n", "d.csv", "row_cells"),
        ("a,a\n1,2\n", "d.csv", "csv_header"),
        (pairs(""), "d.jsonl", "no_rows_with_answer"),
        ('{"a": 1}\n', "d.jsonl", "no_answer_column"),
        (pairs("A") + '{"prompt": "Q"}\n', "d.jsonl", "row_no_field"),
        (pairs("A") + '{"prompt": "", "completion": "A"}\n', "d.jsonl", "row_empty_field"),
        ('{"messages": [5]}\n', "d.jsonl", "row_wrong_type"),
        ('{"messages": [{"role": "user", "content": "Q"}]}\n', "d.jsonl", "row_roles"),
        ('{"messages": [{"role": "alien", "content": "Q"}]}\n', "d.jsonl", "row_unknown_role"),
    ],
)
def test_a_look_tells_the_first_problem_in_every_language(tmp_path, content, name, key):
    path = tmp_path / "upload"
    path.write_text(content)
    problem = inspect(path, name).problem
    assert problem is not None
    assert problem.key == key
    for language in LANGUAGES:
        for sentence in error_text(language, problem.key, problem.values):
            assert "{" not in sentence.replace('{"', "").replace("{role", "")
