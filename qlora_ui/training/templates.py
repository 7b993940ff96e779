"""Chat templates: a conversation as the model reads it, and which parts of it are answers."""

import os
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from qlora_ui.errors import UserError

Message = dict[str, Any]

# For a model that has none: ChatML, its markers spelled in the tokens the model has, each turn ended by the
# model's own end token. The vocabulary never grows.
CHATML = (
    "{{ bos_token if starts_with_bos else '' }}"
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + eos_token + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def ensure_template(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Give a tokenizer without a chat template ChatML; whether it had none."""
    if tokenizer.chat_template:
        return False
    starts = tokenizer.bos_token_id is not None and tokenizer("a").input_ids[0] == tokenizer.bos_token_id
    tokenizer.chat_template = CHATML.replace("starts_with_bos", str(starts).lower())
    return True


def render(tokenizer: PreTrainedTokenizerBase, messages: list[Message], prompt: bool = False) -> str:
    """The conversation as text; with `prompt`, up to where the assistant begins to speak.

    Raises jinja2.TemplateError where the template refuses the conversation.
    """
    try:
        return _render(tokenizer, messages, prompt)
    except TemplateError:
        if messages[0]["role"] != "system" or len(messages) == 1:
            raise
        # Gemma's and some of Mistral's templates know no system message: it leads the first turn instead.
        system, first, *rest = messages
        joined = {**first, "content": f"{system['content']}\n\n{first['content']}"}
        return _render(tokenizer, [joined, *rest], prompt)


def _render(tokenizer: PreTrainedTokenizerBase, messages: list[Message], prompt: bool) -> str:
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt))


def answer_spans(
    tokenizer: PreTrainedTokenizerBase, messages: list[Message], row: int
) -> tuple[str, list[tuple[int, int]]]:
    """The whole text, and the character spans of the assistant's turns in it, each with what ends the turn.

    Raises UserError template_refuses_row.
    """
    try:
        full = render(tokenizer, messages)
        turns = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
        heads = [render(tokenizer, messages[:i], prompt=True) if i else "" for i in turns]
    except TemplateError as error:
        raise UserError("template_refuses_row", row=row, reason=str(error)) from error
    spans = []
    for i, head in zip(turns, heads, strict=True):
        # Some templates end the prompt with more than the turn has (an empty thought): where they part.
        start = len(os.path.commonprefix([head, full]))
        content = str(messages[i]["content"]).strip()
        if content and (at := full.find(content, start)) >= 0:
            spans.append((start, _turn_end(tokenizer, full, at + len(content))))
        elif i == len(messages) - 1:  # rewritten by the template, as thoughts are: all up to the end
            spans.append((start, len(full.rstrip())))
        # else: the template drops this turn's text (older thoughts): nothing of it to learn
    return full, spans


def _turn_end(tokenizer: PreTrainedTokenizerBase, full: str, content_end: int) -> int:
    """The end of a turn whose text ends at `content_end`: behind the special token that follows it."""
    rest = full[content_end:]
    stripped = rest.lstrip()
    for marker in sorted(tokenizer.all_special_tokens, key=len, reverse=True):
        if stripped.startswith(marker):
            return content_end + len(rest) - len(stripped) + len(marker)
    return content_end
