"""Answers are found in the templates people's models really have; a model without one gets no new tokens."""

from pathlib import Path

import pytest
import trl
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from qlora_ui.config import TrainConfig
from qlora_ui.errors import UserError
from qlora_ui.events import Log
from qlora_ui.training.templates import answer_spans, ensure_template, render
from tests.training.conftest import Start, make_model, make_tokenizer

FOLDER = Path(trl.__file__).parent / "chat_templates"
# Template → (its end of turn, what stands before the last answer besides)
TEMPLATES = {
    "llama3": ("<|eot_id|>", ""),
    "llama3_1": ("<|eot_id|>", ""),
    "llama3_2": ("<|eot_id|>", ""),
    "gemma": ("<end_of_turn>", ""),
    "gemma3": ("<end_of_turn>", ""),
    "phi3": ("<|end|>", ""),
    "qwen2_5": ("<|im_end|>", ""),
    "qwen3": ("<|im_end|>", "<think>\n\n</think>\n\n"),
    "qwen3_instruct_2507": ("<|im_end|>", ""),
    "cohere": ("<|END_OF_TURN_TOKEN|>", ""),
}
SPECIAL = sorted({end for end, _ in TEMPLATES.values()})
TALK = [
    {"role": "user", "content": "Where is the mast?"},
    {"role": "assistant", "content": "Above."},
    {"role": "user", "content": "And the keel?"},
    {"role": "assistant", "content": "The keel? Below, sir."},
]


@pytest.fixture(params=TEMPLATES)
def template(request: pytest.FixtureRequest) -> tuple[PreTrainedTokenizerFast, str, str]:
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL})
    tokenizer.bos_token = "<|endoftext|>"
    tokenizer.chat_template = (FOLDER / f"{request.param}.jinja").read_text("utf-8")
    return tokenizer, *TEMPLATES[request.param]


def test_answers_are_found_with_what_ends_them(template: tuple[PreTrainedTokenizerFast, str, str]) -> None:
    tokenizer, end, before_last = template
    text, spans = answer_spans(tokenizer, TALK, row=1)
    first, last = (text[start:stop].removeprefix(" ") for start, stop in spans)
    assert first == f"Above.{end}"
    assert last == f"{before_last}The keel? Below, sir.{end}"


def test_the_answer_begins_where_the_prompt_ends(template: tuple[PreTrainedTokenizerFast, str, str]) -> None:
    tokenizer, _, _ = template
    text, spans = answer_spans(tokenizer, TALK, row=1)
    assert text[: spans[-1][0]] == render(tokenizer, TALK[:-1], prompt=True)


def test_a_system_message_the_template_does_not_know_leads_the_first_turn() -> None:
    tokenizer = make_tokenizer()
    tokenizer.bos_token = "<|endoftext|>"
    tokenizer.chat_template = (FOLDER / "gemma.jinja").read_text("utf-8")
    text = render(tokenizer, [{"role": "system", "content": "Be brief."}, *TALK])
    assert "<start_of_turn>user\nBe brief.\n\nWhere is the mast?<end_of_turn>" in text


def test_a_conversation_the_template_refuses_is_named() -> None:
    tokenizer = make_tokenizer()
    tokenizer.bos_token = "<|endoftext|>"
    tokenizer.chat_template = (FOLDER / "gemma.jinja").read_text("utf-8")
    with pytest.raises(UserError) as refused:
        answer_spans(tokenizer, [TALK[1], *TALK], row=31)
    assert refused.value.key == "template_refuses_row"
    assert refused.value.values["row"] == 31


def test_without_a_template_chatml_is_spelled_in_the_tokens_there_are() -> None:
    tokenizer = make_tokenizer(template=None)
    assert ensure_template(tokenizer)
    assert not ensure_template(tokenizer)
    text, spans = answer_spans(tokenizer, TALK, row=1)
    assert [text[start:end] for start, end in spans] == [
        "Above.<|endoftext|>",
        "The keel? Below, sir.<|endoftext|>",
    ]
    assert text.startswith("<|im_start|>user\nWhere is the mast?<|endoftext|>\n<|im_start|>assistant\n")


def test_the_vocabulary_never_grows(train_here: Start, tiny_config: TrainConfig, tmp_path: Path) -> None:
    """A base model without chat template, trained: same tokens, no embeddings in the adapter."""
    folder = tmp_path / "base"
    make_model().save_pretrained(folder)
    tokenizer = make_tokenizer(template=None)
    tokenizer.save_pretrained(folder)
    config = tiny_config.model_copy(
        update={
            "model": tiny_config.model.model_copy(update={"name_or_path": str(folder)}),
            "trainer": tiny_config.trainer.model_copy(update={"max_steps": 2, "eval_steps": 2}),
        }
    )
    run = train_here(config)
    saved = AutoTokenizer.from_pretrained(run.folder / "adapter")
    assert len(saved) == len(tokenizer)
    assert saved.get_vocab() == tokenizer.get_vocab()
    assert saved.chat_template and "im_start" in saved.chat_template
    assert [event.key for event in run.told(Log) if event.level == "warning"] == ["no_chat_template"]
