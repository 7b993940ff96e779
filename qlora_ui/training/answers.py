"""What the model answers to a few held-out questions, before training and after."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedTokenizerBase

from qlora_ui.data.examples import Example
from qlora_ui.training.attention import PACKED
from qlora_ui.training.templates import render

QUESTIONS = 3
NEW_TOKENS = 40
TEXT_PROMPT = 32  # tokens of a row of plain text that are given; the model goes on from there


def questions(examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase) -> list[tuple[str, str]]:
    """(what a person reads, what the model is given) of the first rows that ask something."""
    found = []
    for example in examples:
        if example.messages is None:
            ids = tokenizer(example.text, add_special_tokens=False)["input_ids"][:TEXT_PROMPT]
            text = tokenizer.decode(ids)
            found.append((text, text))
        elif (asked := _until_answer(example.messages)) is not None:
            found.append((asked[-1]["content"], render(tokenizer, asked, prompt=True)))
        if len(found) == QUESTIONS:
            break
    return found


def _until_answer(messages: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
    """The conversation up to its first answer."""
    for i, message in enumerate(messages):
        if message["role"] == "assistant":
            return messages[:i] or None
    return None


def answer(
    model: Any, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], seconds: float | None = None
) -> list[str]:
    """Greedy answers, of at most NEW_TOKENS tokens and `seconds`: to all prompts without the adapter, then to
    all of them with it. One batch for both takes hardly longer than one of them.

    Leaves the model in eval mode, on an attention that can use a cache.
    """
    model.eval()
    if model.config._attn_implementation == PACKED:
        model.set_attn_implementation("sdpa")
    padding = tokenizer.padding_side
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    batch = tokenizer([*prompts, *prompts], return_tensors="pt", padding=True, add_special_tokens=False)
    tokenizer.padding_side = padding
    batch = {name: batch[name].to(model.device) for name in ("input_ids", "attention_mask")}
    names = ["__base__"] * len(prompts) + ["default"] * len(prompts)
    settings = GenerationConfig(
        max_new_tokens=NEW_TOKENS,
        do_sample=False,
        eos_token_id=_end_tokens(model, tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        max_time=seconds,
    )
    with torch.no_grad():
        out = model.generate(**batch, generation_config=settings, adapter_names=names)
    answers: list[str] = tokenizer.batch_decode(
        out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True
    )
    return [text.strip() for text in answers]


def _end_tokens(model: Any, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    own = model.generation_config.eos_token_id
    ends = {tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])}
    return sorted(end for end in ends if end is not None)
