"""Formats: each row shape becomes the messages it means, and a wrong row says what is wrong."""

import pytest

from qlora_ui.data.formats import COLUMNS, FORMATS, detect
from qlora_ui.errors import UserError

SYSTEM = {"role": "system", "content": "S"}
USER = {"role": "user", "content": "Q"}
ANSWER = {"role": "assistant", "content": "A"}
EARLIER = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
TURNS = [USER, ANSWER]

GOOD = [
    ("alpaca", {"instruction": "Q", "input": "", "output": "A"}, [USER, ANSWER]),
    ("alpaca", {"instruction": "Q", "output": "A"}, [USER, ANSWER]),
    ("alpaca", {"instruction": "Q", "input": None, "output": "A", "text": "x"}, [USER, ANSWER]),
    ("alpaca", {"instruction": "Q", "input": "I", "output": "A"}, [{**USER, "content": "Q\n\nI"}, ANSWER]),
    (
        "alpaca",
        {"instruction": "Q", "context": "I", "response": "A"},
        [{**USER, "content": "Q\n\nI"}, ANSWER],
    ),
    (
        "alpaca",
        {"instruction": "Q", "output": "A", "system": "S", "history": [["q", "a"]]},
        [SYSTEM, *EARLIER, USER, ANSWER],
    ),
    ("messages", {"messages": [SYSTEM, *EARLIER, *TURNS]}, [SYSTEM, *EARLIER, *TURNS]),
    ("messages", {"messages": [{"role": "developer", "content": "S"}, *TURNS]}, [SYSTEM, *TURNS]),
    ("messages", {"messages": [{"role": "user", "content": [{"type": "text", "text": "Q"}]}, ANSWER]}, TURNS),
    (
        "messages",
        {"messages": '[{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]'},
        TURNS,
    ),
    ("messages", {"messages": [{**USER, "name": "x"}, {**ANSWER, "weight": 1}]}, TURNS),
    ("sharegpt", {"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]}, TURNS),
    (
        "sharegpt",
        {"system": "S", "conversations": [{"from": "user", "value": "Q"}, {"from": "chatgpt", "value": "A"}]},
        [SYSTEM, *TURNS],
    ),
    ("sharegpt", {"conversations": TURNS}, TURNS),
    ("prompt_completion", {"prompt": "Q", "completion": "A"}, TURNS),
    ("prompt_completion", {"question": "Q", "answer": "A", "system": "S"}, [SYSTEM, *TURNS]),
    ("prompt_completion", {"prompt": [SYSTEM, USER], "completion": [ANSWER]}, [SYSTEM, *TURNS]),
    ("prompt_completion", {"prompt": "[1] Q", "completion": "A"}, [{**USER, "content": "[1] Q"}, ANSWER]),
]


@pytest.mark.parametrize(("name", "row", "expected"), GOOD)
def test_messages_of_a_row(name, row, expected):
    assert detect([row]) == name
    assert FORMATS[name](row) == {"messages": expected}


def test_text_is_kept_as_it_is():
    assert detect([{"text": " T\n"}]) == "text"
    assert FORMATS["text"]({"text": " T\n"}) == {"text": " T\n"}


BAD = [
    ("alpaca", {"instruction": "Q"}, "row_no_field", {"field": "output"}),
    ("alpaca", {"instruction": "", "output": "A"}, "row_empty_field", {"field": "instruction"}),
    ("alpaca", {"instruction": "Q", "output": " "}, "row_empty_answer", {"field": "output"}),
    ("alpaca", {"instruction": "Q", "output": None}, "row_empty_answer", {"field": "output"}),
    ("alpaca", {"instruction": "Q", "output": 5}, "row_wrong_type", {"field": "output", "found": "number"}),
    (
        "alpaca",
        {"instruction": "Q", "output": "A", "input": ["x"]},
        "row_wrong_type",
        {"field": "input", "found": "array"},
    ),
    (
        "alpaca",
        {"instruction": "Q", "output": "A", "history": [["q", "a"], ["q"]]},
        "row_wrong_type",
        {"field": "history[1]"},
    ),
    ("messages", {"messages": "hello"}, "row_wrong_type", {"field": "messages", "found": "string"}),
    ("messages", {"messages": [USER]}, "row_roles", {"found": "user"}),
    ("messages", {"messages": []}, "row_roles", {"found": ""}),
    ("messages", {"messages": ["hello"]}, "row_wrong_type", {"field": "messages[0]"}),
    (
        "messages",
        {"messages": [USER, {"role": "alien", "content": "A"}]},
        "row_unknown_role",
        {"field": "messages[1]", "found": "alien"},
    ),
    (
        "messages",
        {"messages": [USER, {"role": "assistant", "content": None}]},
        "row_wrong_type",
        {"field": "messages[1].content", "found": "null"},
    ),
    (
        "messages",
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}, ANSWER]},
        "row_wrong_type",
        {"field": "messages[0].content[0]", "found": "image_url"},
    ),
    ("messages", {"messages": [USER, {**ANSWER, "content": ""}]}, "row_empty_answer", {"field": "messages"}),
    ("sharegpt", {"conversations": [{"from": "gpt"}]}, "row_wrong_type", {"field": "conversations[0].value"}),
    ("prompt_completion", {"prompt": "Q"}, "row_no_field", {"field": "completion"}),
    ("prompt_completion", {"prompt": [USER], "completion": "A"}, "row_wrong_type", {"field": "prompt"}),
    ("prompt_completion", {"prompt": [USER], "completion": [USER]}, "row_roles", {"field": "completion"}),
    ("text", {"text": ""}, "row_empty_answer", {"field": "text"}),
]


@pytest.mark.parametrize(("name", "row", "key", "values"), BAD)
def test_a_wrong_row_says_what_is_wrong(name, row, key, values):
    with pytest.raises(UserError) as caught:
        FORMATS[name](row)
    assert caught.value.key == key
    assert values.items() <= caught.value.values.items()


def test_columns_that_fit_no_format_are_listed_with_those_that_would():
    with pytest.raises(UserError) as caught:
        detect([{"frage": "Q", "antwort": "A"}])
    assert caught.value.key == "no_answer_column"
    assert caught.value.values["columns"] == "frage, antwort"
    assert "instruction + output (response)" in caught.value.values["accepted"]


def test_every_format_says_its_columns():
    assert set(COLUMNS) == set(FORMATS)
