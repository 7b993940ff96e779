"""Rows packed into one bin do not see each other, in any family of models, and the head gives what the
family's own head gives."""

from collections.abc import Callable

import pytest
import torch
import transformers as t
from transformers import PreTrainedModel

from qlora_ui.training import attention, dataset
from qlora_ui.training.attention import ALONE, PACKED, choose, packed_inputs
from qlora_ui.training.loss import SummedLoss

SIZES = {
    "vocab_size": 400,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "initializer_range": 0.3,  # large: what one row sees of another would show
}
FAMILIES: dict[str, tuple[Callable[[], PreTrainedModel], str]] = {
    "llama": (lambda: t.LlamaForCausalLM(t.LlamaConfig(**SIZES)), PACKED),
    "mistral": (lambda: t.MistralForCausalLM(t.MistralConfig(**SIZES, sliding_window=5)), PACKED),
    "qwen3": (lambda: t.Qwen3ForCausalLM(t.Qwen3Config(**SIZES)), PACKED),
    "phi3": (lambda: t.Phi3ForCausalLM(t.Phi3Config(**SIZES)), PACKED),
    "smollm3": (lambda: t.SmolLM3ForCausalLM(t.SmolLM3Config(**SIZES)), PACKED),
    "granite": (lambda: t.GraniteForCausalLM(t.GraniteConfig(**SIZES, logits_scaling=8.0)), PACKED),
    "cohere": (lambda: t.CohereForCausalLM(t.CohereConfig(**SIZES, logit_scale=0.5)), PACKED),
    "gemma2": (lambda: t.Gemma2ForCausalLM(t.Gemma2Config(**SIZES, sliding_window=5)), "eager"),
    "gemma3": (lambda: t.Gemma3ForCausalLM(t.Gemma3TextConfig(**SIZES, sliding_window=5)), PACKED),
    "qwen3_moe": (
        lambda: t.Qwen3MoeForCausalLM(
            t.Qwen3MoeConfig(**SIZES, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32)
        ),
        PACKED,
    ),
    # transformers 5.23 makes its masks without looking for packed rows: they would see each other
    "gpt_oss": (
        lambda: t.GptOssForCausalLM(
            t.GptOssConfig(**SIZES, sliding_window=5, num_local_experts=4, num_experts_per_tok=2)
        ),
        ALONE,
    ),
    "mamba": (
        lambda: t.MambaForCausalLM(
            t.MambaConfig(vocab_size=400, hidden_size=64, num_hidden_layers=2, state_size=8)
        ),
        ALONE,
    ),
}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> tuple[PreTrainedModel, str, str]:
    """(model, the attention expected for it, the attention that was chosen)"""
    torch.manual_seed(0)
    make, expected = FAMILIES[request.param]
    model = make().eval()
    return model, expected, choose(model, torch.float32)


def sequences() -> list[torch.Tensor]:
    torch.manual_seed(1)
    return [torch.randint(3, 400, (length,)) for length in (7, 1, 19, 12)]


def test_the_fastest_right_attention_is_chosen(family: tuple[PreTrainedModel, str, str]) -> None:
    _, expected, chosen = family
    assert chosen == expected


def test_packed_rows_give_what_each_gives_alone(family: tuple[PreTrainedModel, str, str]) -> None:
    model, _, chosen = family
    if chosen == ALONE:  # one row a bin, then the filling
        packed_rows = [[row, torch.zeros(5, dtype=torch.long)] for row in sequences()]
    else:
        packed_rows = [sequences()]
    for rows in packed_rows:
        with torch.no_grad():
            packed = model(**packed_inputs(rows), use_cache=False).logits[0]
            start = 0
            for ids in rows[:1] if chosen == ALONE else rows:
                alone = model(**packed_inputs([ids]), use_cache=False).logits[0]
                torch.testing.assert_close(packed[start : start + len(ids)], alone, atol=2e-4, rtol=2e-4)
                start += len(ids)


def test_loss_and_gradient_are_the_models_own(family: tuple[PreTrainedModel, str, str]) -> None:
    """Against cross-entropy over all logits: the tiles, the head of the family, the targets."""
    model, _, chosen = family
    rows = [
        dataset.TokenRow(i, ids.tolist(), [dataset.IGNORED] * (len(ids) // 2) + ids.tolist()[len(ids) // 2 :])
        for i, ids in enumerate(sequences())
    ]
    batch = dataset.collate(dataset.pack(rows, 48, 0, alone=chosen == ALONE)[:1])
    for layer in model.get_output_embeddings().parameters():
        layer.requires_grad_(False)
    weight = next(w for name, w in model.named_parameters() if w.requires_grad and "embed" not in name)
    loss = SummedLoss(model, torch.float32)
    assert loss.known
    (ours,) = torch.autograd.grad(loss(batch), weight)
    inputs = {name: batch[name] for name in batch if name not in ("labels", "shift_labels", "tokens", "rows")}
    logits = model(**inputs, use_cache=False).logits[0]
    own = torch.nn.functional.cross_entropy(logits, batch["shift_labels"][0], reduction="sum")
    torch.testing.assert_close(loss(batch), own, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours, torch.autograd.grad(own, weight)[0], rtol=1e-3, atol=1e-3)


def test_a_head_that_is_not_known_is_left_to_the_model() -> None:
    torch.manual_seed(0)
    model = t.LlamaForCausalLM(t.LlamaConfig(**SIZES))
    whole = SummedLoss(model, torch.float32)  # its head learns: nothing may be detached
    assert not whole.known
    ids = list(range(3, 20))
    batch = dataset.collate(dataset.pack([dataset.TokenRow(1, ids, ids)], 32, 0))
    whole(batch).backward()
    assert model.lm_head.weight.grad is not None
    model.lm_head.requires_grad_(False)
    tiled = SummedLoss(model, torch.float32)
    assert tiled.known
    torch.testing.assert_close(tiled(batch), whole(batch))


def test_packed_attention_refuses_what_it_does_not_know() -> None:
    query = torch.randn(1, 4, 6, 16)
    bounds = torch.tensor([0, 2, 6], dtype=torch.int32)
    module = torch.nn.Module()
    attention.packed_attention(module, query, query, query, None, cu_seq_lens_q=bounds)
    for unknown in ({"softcap": 50.0}, {"s_aux": torch.ones(4)}, {"dropout": 0.1}, {"cu_seq_lens_q": None}):
        with pytest.raises(NotImplementedError):
            attention.packed_attention(
                module, query, query, query, None, **{"cu_seq_lens_q": bounds, **unknown}
            )
