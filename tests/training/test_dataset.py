"""What is learned of a row, and what lies in a bin, by hand-written expectations."""

from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from qlora_ui.config import TrainConfig
from qlora_ui.data.examples import Example
from qlora_ui.training.dataset import IGNORED, TokenRow, bins_per_step, collate, pack, tokenise
from qlora_ui.training.trainer import PackedTrainer
from tests.training.conftest import Start, make_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return make_tokenizer()


def chat(*turns: str, row: int = 1) -> Example:
    """User and assistant in turn."""
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": text} for i, text in enumerate(turns)]
    return Example(row, messages, None)


def learned(tokenizer: PreTrainedTokenizerFast, row: TokenRow) -> list[str]:
    """The stretches of text that have labels."""
    stretches: list[list[int]] = [[]]
    for label in row.labels:
        if label != IGNORED:
            stretches[-1].append(label)
        elif stretches[-1]:
            stretches.append([])
    return [tokenizer.decode(ids) for ids in stretches if ids]


def tokens(tokenizer: PreTrainedTokenizerFast, examples: list[Example], length: int = 200) -> Any:
    return tokenise(examples, tokenizer, length, lambda done: None)


def test_answers_and_their_ends_are_learned_and_nothing_else(tokenizer: PreTrainedTokenizerFast) -> None:
    (row,) = tokens(tokenizer, [chat("Where?", "Below.", "And the mast?", "Above, sir.")]).rows
    assert learned(tokenizer, row) == ["Below.<|im_end|>", "Above, sir.<|im_end|>"]
    assert tokenizer.decode(row.input_ids) == (
        "<|im_start|>user\nWhere?<|im_end|>\n<|im_start|>assistant\nBelow.<|im_end|>\n"
        "<|im_start|>user\nAnd the mast?<|im_end|>\n<|im_start|>assistant\nAbove, sir.<|im_end|>\n"
    )


def test_an_answer_that_repeats_the_question_is_found_in_its_own_turn(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    (row,) = tokens(tokenizer, [chat("Aye", "Aye", "Aye", "Aye")]).rows
    assert learned(tokenizer, row) == ["Aye<|im_end|>"] * 2
    assert row.labels[-2:] == [tokenizer.convert_tokens_to_ids("<|im_end|>"), IGNORED]


def test_plain_text_is_learned_whole(tokenizer: PreTrainedTokenizerFast) -> None:
    (row,) = tokens(tokenizer, [Example(1, None, "Where is the mast?")]).rows
    assert row.labels == row.input_ids
    assert tokenizer.decode(row.input_ids) == "Where is the mast?<|im_end|>"


def test_long_rows_are_cut_and_rows_with_nothing_to_learn_left_out(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    long_question = "Where is the mast? " * 40
    found = tokens(
        tokenizer,
        [chat("Where?", "Aye " * 200, row=1), chat(long_question, "Below.", row=2), chat("a", "b", row=3)],
        length=64,
    )
    assert (found.cut, found.dropped) == (2, 1)
    assert [row.row for row in found.rows] == [1, 3]
    assert len(found.rows[0].input_ids) == len(found.rows[0].labels) == 64


def rows() -> list[TokenRow]:
    """Three rows of 5, 3 and 2 tokens; the first token of each has no label."""
    ids = ([11, 12, 13, 14, 15], [21, 22, 23], [31, 32])
    return [TokenRow(7 + i, list(row), [IGNORED, *row[1:]]) for i, row in enumerate(ids)]


def test_bins_are_full_and_hold_each_row_once() -> None:
    bins = pack(rows(), 8, filling=0)
    assert [bin.rows for bin in bins] == [(7, 8), (9,)]
    batch = collate(bins[:1])
    assert batch["input_ids"].tolist() == [[11, 12, 13, 14, 15, 21, 22, 23]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 4, 0, 1, 2]]
    assert batch["shift_labels"].tolist() == [[12, 13, 14, 15, IGNORED, 22, 23, IGNORED]]
    assert batch["cu_seq_lens_q"].tolist() == [0, 5, 8]
    assert (batch["tokens"], batch["rows"], batch["max_length_q"]) == (8, [7, 8], 5)


def test_filling_is_a_sequence_of_its_own_that_nothing_is_learned_from() -> None:
    batch = collate(pack(rows(), 8, filling=0)[1:])
    assert batch["input_ids"].tolist() == [[31, 32, 0, 0, 0, 0, 0, 0]]
    assert batch["position_ids"].tolist() == [[0, 1, 0, 1, 2, 3, 4, 5]]
    assert batch["shift_labels"].tolist() == [[32, *[IGNORED] * 7]]
    assert batch["cu_seq_lens_q"].tolist() == [0, 2, 8]
    assert (batch["tokens"], batch["rows"]) == (2, [9])


def test_several_bins_in_one_batch_lie_behind_one_another() -> None:
    batch = collate(pack(rows(), 8, filling=0))
    assert batch["input_ids"].shape == (1, 16)
    assert batch["cu_seq_lens_q"].tolist() == [0, 5, 8, 10, 16]
    assert (batch["tokens"], batch["rows"]) == (10, [7, 8, 9])


def test_alone_every_row_has_a_bin() -> None:
    assert [bin.rows for bin in pack(rows(), 8, filling=0, alone=True)] == [(7,), (8,), (9,)]


@pytest.mark.parametrize(
    ("rows", "bins", "rows_per_step", "expected"), [(96, 32, 16, 5), (96, 96, 16, 16), (96, 12, 4, 1)]
)
def test_a_step_is_counted_in_rows(rows: int, bins: int, rows_per_step: int, expected: int) -> None:
    assert bins_per_step(rows, bins, rows_per_step) == expected


def test_the_trainer_feeds_every_row_once_an_epoch_and_weighs_by_tokens(
    train_here: Start, tiny_config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the batches the trainer was really fed."""
    fed: list[dict[str, Any]] = []
    counts: list[int] = []
    compute_loss = PackedTrainer.compute_loss

    def listen(self: Any, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        fed.append(inputs)
        counts.append(int(kwargs["num_items_in_batch"]))
        return compute_loss(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(PackedTrainer, "compute_loss", listen)
    trainer = tiny_config.trainer.model_copy(update={"num_train_epochs": 1.0})
    batch = tiny_config.batch.model_copy(update={"rows_per_step": 16})
    train_here(tiny_config.model_copy(update={"trainer": trainer, "batch": batch}))
    seen = [row for inputs in fed for row in inputs["rows"]]
    assert len(seen) == len(set(seen)) == 54  # 60 rows, 6 of them held out
    assert {inputs["input_ids"].shape for inputs in fed} == {(1, 128)}
    labelled = [int((inputs["shift_labels"] != IGNORED).sum()) for inputs in fed]
    for count in set(counts):  # bins of one step share its count of targets
        members = [n for n, c in zip(labelled, counts, strict=True) if c == count]
        assert sum(members) == count
    for inputs in fed:
        ids, targets = inputs["input_ids"][0], inputs["shift_labels"][0]
        places = (targets != IGNORED).nonzero()[:, 0]
        assert torch.equal(targets[places], ids[places + 1])  # what is to be said is what comes next
        bounds = inputs["cu_seq_lens_q"][1:].tolist()
        assert all(targets[end - 1] == IGNORED for end in bounds)  # never the next row's first token
