"""Rows as the model reads them: token ids, what is to be learned of them, and bins of equal length."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from qlora_ui.data.examples import Example
from qlora_ui.training.attention import packed_inputs
from qlora_ui.training.templates import answer_spans

IGNORED = -100  # the label of a position with nothing to learn, as everywhere in transformers
Done = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One row of the data set. `labels` are as long as `input_ids`: the id itself, or IGNORED."""

    row: int
    input_ids: list[int]
    labels: list[int]


@dataclass(frozen=True, slots=True)
class Bin:
    """Sequences behind one another, filled up to full length by a sequence of padding that nothing sees.

    `targets` are the labels moved one to the left within each sequence: what position i is to say next.
    """

    sequences: tuple[Tensor, ...]  # token ids; the filling is the last where there is one
    targets: Tensor
    rows: tuple[int, ...]
    tokens: int  # real ones: without the filling


@dataclass(frozen=True, slots=True)
class Tokenised:
    rows: list[TokenRow]
    cut: int  # rows longer than max_length
    dropped: int  # rows with nothing to learn


def tokenise(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, max_length: int, done: Done
) -> Tokenised:
    """Examples → token rows of at most `max_length`. Raises UserError template_refuses_row."""
    rows, cut, dropped = [], 0, 0
    for number, example in enumerate(examples):
        if number % 200 == 0:
            done(number)
        row = _text_row(example, tokenizer) if example.messages is None else _chat_row(example, tokenizer)
        cut += len(row.input_ids) > max_length
        row = TokenRow(row.row, row.input_ids[:max_length], row.labels[:max_length])
        if any(label != IGNORED for label in row.labels[1:]):  # the first token is never said, only read
            rows.append(row)
        else:
            dropped += 1
    return Tokenised(rows, cut, dropped)


def _chat_row(example: Example, tokenizer: PreTrainedTokenizerBase) -> TokenRow:
    text, spans = answer_spans(tokenizer, example.messages or [], example.row)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids = encoded["input_ids"]
    learned = [any(start <= first < end for start, end in spans) for first, _ in encoded["offset_mapping"]]
    return TokenRow(example.row, ids, [i if yes else IGNORED for i, yes in zip(ids, learned, strict=True)])


def _text_row(example: Example, tokenizer: PreTrainedTokenizerBase) -> TokenRow:
    ids = tokenizer(example.text)["input_ids"]
    if tokenizer.eos_token_id is not None and ids[-1:] != [tokenizer.eos_token_id]:
        ids = [*ids, tokenizer.eos_token_id]
    return TokenRow(example.row, ids, list(ids))


def pack(rows: Sequence[TokenRow], length: int, filling: int, alone: bool = False) -> list[Bin]:
    """Rows → bins of `length` tokens, best fit first; one row a bin if `alone`."""
    if not rows:
        return []
    groups = [[i] for i in range(len(rows))] if alone else _best_fit(rows, length)
    return [_bin([rows[i] for i in group], length, filling) for group in groups]


def _best_fit(rows: Sequence[TokenRow], length: int) -> list[list[int]]:
    """Which rows (by index) share a bin."""
    from datasets import Dataset, disable_progress_bars
    from trl.data_utils import pack_dataset

    disable_progress_bars()
    # Each row as its index, repeated to the row's length: all that the packing needs to know of it.
    indices = Dataset.from_dict({"index": [[i] * len(row.input_ids) for i, row in enumerate(rows)]})
    packed = pack_dataset(indices, length, "bfd")
    groups = []
    for members, lengths in zip(packed["index"], packed["seq_lengths"], strict=True):
        ends = torch.tensor(lengths).cumsum(0).tolist()
        groups.append([members[end - 1] for end in ends])
    return groups


def _bin(rows: Sequence[TokenRow], length: int, filling: int) -> Bin:
    sequences = [torch.tensor(row.input_ids) for row in rows]
    targets = [torch.tensor([*row.labels[1:], IGNORED]) for row in rows]
    tokens = sum(len(ids) for ids in sequences)
    if tokens < length:
        sequences.append(torch.full((length - tokens,), filling))
        targets.append(torch.full((length - tokens,), IGNORED))
    return Bin(tuple(sequences), torch.cat(targets), tuple(row.row for row in rows), tokens)


def collate(bins: Sequence[Bin]) -> dict[str, Any]:
    """Bins → what the model is given: one row of all their sequences. The trainer counts targets by the names
    `labels` and `shift_labels`."""
    targets = torch.cat([bin.targets for bin in bins])[None]
    return {
        **packed_inputs([ids for bin in bins for ids in bin.sequences]),
        "shift_labels": targets,
        "labels": targets,
        "tokens": sum(bin.tokens for bin in bins),
        "rows": [row for bin in bins for row in bin.rows],
    }


def bins_per_step(rows: int, bins: int, rows_per_step: int) -> int:
    """How many bins hold about `rows_per_step` rows, at least 1."""
    return max(1, round(rows_per_step / (rows / bins)))
