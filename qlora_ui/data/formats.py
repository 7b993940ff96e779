"""The shapes a row can have. One function each: a row → `{"messages": [...]}` or `{"text": ...}`.

A message is `{"role": "system" | "user" | "assistant", "content": str}`. The functions raise UserError
row_no_field, row_wrong_type, row_roles or row_empty_answer; who calls them adds file and row number.
To add a format, write its function and its line in FORMATS and COLUMNS.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from qlora_ui.errors import UserError

Message = dict[str, str]
Converted = dict[str, Any]

ROLES = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "model": "assistant",
    "bot": "assistant", "bing": "assistant", "bard": "assistant",
}  # fmt: skip
INPUTS = ("input", "context")
OUTPUTS = ("output", "response")
PROMPTS = ("prompt", "question", "query")
COMPLETIONS = ("completion", "response", "answer")


def alpaca(row: Mapping[str, Any]) -> Converted:
    """instruction, optional input, output, optional system and history (pairs of question and answer)."""
    messages = _system(row)
    for index, pair in enumerate(_list(row, "history") if row.get("history") else []):
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(side, str) for side in pair)):
            field = f"history[{index}]"
            raise UserError("row_wrong_type", field=field, found=_kind(pair), expected="[question, answer]")
        messages += [_message("user", pair[0]), _message("assistant", pair[1])]
    question = _text(row, ("instruction",))
    if context := _optional(row, INPUTS):
        question = f"{question}\n\n{context}"
    return {"messages": [*messages, _message("user", question), _answer(row, OUTPUTS)]}


def messages(row: Mapping[str, Any]) -> Converted:
    """messages: OpenAI's list of role and content."""
    return {"messages": _conversation(row, "messages")}


def sharegpt(row: Mapping[str, Any]) -> Converted:
    """conversations: a list of from and value (human, gpt), optional system beside it."""
    return {"messages": [*_system(row), *_conversation(row, "conversations")]}


def prompt_completion(row: Mapping[str, Any]) -> Converted:
    """A prompt and its completion: two texts, or two lists of messages."""
    prompt, completion = _present(row, PROMPTS), _present(row, COMPLETIONS)
    if isinstance(_unpacked(row[prompt]), list) and isinstance(_unpacked(row[completion]), list):
        turns = [*_turns(row, prompt), *_turns(row, completion)]
        return {"messages": _with_answer(turns, completion)}
    question = _message("user", _text(row, PROMPTS))
    return {"messages": [*_system(row), question, _answer(row, COMPLETIONS)]}


def text(row: Mapping[str, Any]) -> Converted:
    """text: to go on with, all of it learned."""
    return {"text": _text(row, ("text",), empty="row_empty_answer")}


FORMATS: dict[str, Callable[[Mapping[str, Any]], Converted]] = {
    "messages": messages,
    "sharegpt": sharegpt,
    "alpaca": alpaca,
    "prompt_completion": prompt_completion,
    "text": text,
}
# What a row must have to be of a format: one name of each group. Looked at in the order of FORMATS.
COLUMNS: dict[str, tuple[tuple[str, ...], ...]] = {
    "messages": (("messages",),),
    "sharegpt": (("conversations",),),
    "alpaca": (("instruction",), OUTPUTS),
    "prompt_completion": (PROMPTS, COMPLETIONS),
    "text": (("text",),),
}


def detect(rows: Iterable[Mapping[str, Any]]) -> str:
    """The format whose columns the first row has. Raises UserError no_answer_column where there is none."""
    first = next(iter(rows), {})
    for name, groups in COLUMNS.items():
        if all(any(column in first for column in group) for group in groups):
            return name
    raise UserError("no_answer_column", columns=", ".join(map(str, first)), accepted=accepted())


def accepted() -> str:
    """The columns each format needs, for a person: `messages · instruction + output (response) · …`."""
    return " · ".join(
        " + ".join(
            group[0] + (f" ({', '.join(group[1:])})" if group[1:] else "") for group in COLUMNS[format]
        )
        for format in FORMATS
    )


def _conversation(row: Mapping[str, Any], field: str) -> list[Message]:
    return _with_answer(_turns(row, field), field)


def _with_answer(turns: list[Message], field: str) -> list[Message]:
    answers = [turn["content"] for turn in turns if turn["role"] == "assistant"]
    if not answers:
        raise UserError("row_roles", field=field, found=", ".join(turn["role"] for turn in turns))
    if not any(answer.strip() for answer in answers):
        raise UserError("row_empty_answer", field=field)
    return turns


def _turns(row: Mapping[str, Any], field: str) -> list[Message]:
    return [_turn(turn, f"{field}[{index}]") for index, turn in enumerate(_list(row, field))]


def _turn(turn: Any, field: str) -> Message:
    if not isinstance(turn, dict):
        raise UserError("row_wrong_type", field=field, found=_kind(turn), expected="{role, content}")
    role = turn.get("role", turn.get("from"))
    if not isinstance(role, str) or role not in ROLES:
        known = ", ".join(ROLES)
        raise UserError("row_unknown_role", field=field, found=str(role), expected=known)
    name = "content" if "content" in turn else "value"
    content = turn.get(name)
    if isinstance(content, list):
        content = _joined(content, f"{field}.{name}")
    if not isinstance(content, str):
        raise UserError("row_wrong_type", field=f"{field}.{name}", found=_kind(content), expected="text")
    return _message(ROLES[role], content)


def _joined(parts: list[Any], field: str) -> str:
    """Content in parts, as OpenAI also has it; only text can be learned from."""
    for index, part in enumerate(parts):
        if not (isinstance(part, dict) and isinstance(part.get("text"), str)):
            found = str(part.get("type")) if isinstance(part, dict) else _kind(part)
            raise UserError("row_wrong_type", field=f"{field}[{index}]", found=found, expected="text")
    return "".join(part["text"] for part in parts)


def _system(row: Mapping[str, Any]) -> list[Message]:
    instructions = _optional(row, ("system",))
    return [_message("system", instructions)] if instructions else []


def _answer(row: Mapping[str, Any], names: tuple[str, ...]) -> Message:
    return _message("assistant", _text(row, names, empty="row_empty_answer"))


def _message(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def _present(row: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """The first of the names that the row has. Raises UserError row_no_field."""
    for name in names:
        if name in row:
            return name
    raise UserError("row_no_field", field=names[0], columns=", ".join(map(str, row)))


def _text(row: Mapping[str, Any], names: tuple[str, ...], empty: str = "row_empty_field") -> str:
    """A text that must be there. Raises UserError row_no_field, row_wrong_type, or `empty`."""
    field = _present(row, names)
    value = row[field]
    if value is None or (isinstance(value, str) and not value.strip()):
        raise UserError(empty, field=field)
    if not isinstance(value, str):
        raise UserError("row_wrong_type", field=field, found=_kind(value), expected="text")
    return value


def _optional(row: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """A text that may be missing, empty or null: then ""."""
    field = next((name for name in names if row.get(name)), "")
    return _text(row, (field,)) if field and str(row[field]).strip() else ""


def _list(row: Mapping[str, Any], field: str) -> list[Any]:
    value = _unpacked(row[_present(row, (field,))])
    if not isinstance(value, list):
        raise UserError("row_wrong_type", field=field, found=_kind(value), expected="[…]")
    return value


def _unpacked(value: Any) -> Any:
    """A list that stands as JSON text in a cell of a CSV."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _kind(value: Any) -> str:
    """JSON's own name of a value's type."""
    kinds = {dict: "object", list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    return kinds.get(type(value), "null" if value is None else type(value).__name__)
