"""Attention for packed bins: each sequence attends to itself only, and costs only its own length squared.

Registered with transformers as `packed`. A model says in its forward what its attention needs beyond causal
(soft-capping, sinks, biases); what `packed` does not know it refuses, and `choose` falls back to the masks of
transformers, after trying it on the model itself.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

PACKED = "packed"
ALONE = "alone"  # no implementation keeps packed rows apart: one row a bin
# Tokens up to which plain matrix products beat the CPU's flash kernel in 16 bits, whose backward is slow
# (half as fast at 40 and at 170 tokens); what they keep for it grows with the square of the length.
SHORT = 256
KNOWN = {
    "cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k", "position_ids", "use_cache",
    "position_embeddings", "is_causal", "output_attentions", "output_router_logits",
    "cache_position",
}  # fmt: skip


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """query (1, heads, tokens, size), key and value (1, key heads, tokens, size) → (1, tokens, heads, size).

    `cu_seq_lens_q` holds the first position of each sequence and the end of the last. Raises
    NotImplementedError for anything that is not plain causal attention, with a window at most.
    """
    scale = kwargs.pop("scaling", None)
    window = kwargs.pop("sliding_window", None)
    dropout = kwargs.pop("dropout", 0.0)
    unknown = {name for name, given in kwargs.items() if given is not None} - KNOWN
    if unknown or attention_mask is not None or dropout or kwargs.get("cu_seq_lens_q") is None:
        raise NotImplementedError(f"packed attention without {sorted(unknown)}")
    if query.is_cuda:
        return _on_gpu(query, key, value, scale, window, kwargs), None
    lengths = kwargs["cu_seq_lens_q"].diff().tolist()
    queries, keys, values = (torch.split(part, lengths, dim=2) for part in (query, key, value))
    parts = [_sequence(q, k, v, scale, window) for q, k, v in zip(queries, keys, values, strict=True)]
    return torch.cat(parts, dim=2).transpose(1, 2), None


def _sequence(query: Tensor, key: Tensor, value: Tensor, scale: float | None, window: int | None) -> Tensor:
    length = query.shape[2]
    mask = None
    if window is not None and length > window:
        mask = torch.ones(length, length, dtype=torch.bool).tril().triu(1 - window)
    short = length <= SHORT and query.dtype != torch.float32
    with sdpa_kernel(SDPBackend.MATH if short else [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]):
        return scaled_dot_product_attention(
            query, key, value, mask, is_causal=mask is None, scale=scale, enable_gqa=True
        )


def _on_gpu(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float | None,
    window: int | None,
    lengths: dict[str, Any],
) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    bounds, longest = lengths["cu_seq_lens_q"], lengths["max_length_q"]
    query, key, value = (part[0].transpose(0, 1) for part in (query, key, value))  # (tokens, heads, size)
    # transformers counts a token's own position into its window, varlen_attn does not.
    reach = -1 if window is None else window - 1
    out: Any = varlen_attn(
        query,
        key,
        value,
        bounds,
        bounds,
        longest,
        longest,
        scale=scale,
        window_size=(reach, 0),
        enable_gqa=True,
    )
    return out[None]  # type: ignore[no-any-return]


AttentionInterface.register(PACKED, packed_attention)


def choose(model: PreTrainedModel, dtype: torch.dtype) -> str:
    """The fastest implementation that is right for this model: packed, sdpa or eager, tried on two short
    sequences against eager, the models' own reference; `alone` where even that lets one row see the other
    (layers with a state that runs through the bin). Leaves the model set to it."""
    vocabulary = model.get_input_embeddings().num_embeddings
    first, second = (torch.arange(n) * 7919 % vocabulary for n in (9, 12))
    other = (first + 1) % vocabulary
    reference = _try(model, "eager", [first, second], dtype)
    apart = _try(model, "eager", [other, second], dtype)
    if reference is None or apart is None or not close(reference[9:], apart[9:]):
        model.set_attn_implementation("eager")
        return ALONE
    for name in (PACKED, "sdpa"):
        logits = _try(model, name, [first, second], dtype)
        if logits is not None and close(logits, reference):
            return name
    model.set_attn_implementation("eager")
    return "eager"


def _try(model: PreTrainedModel, name: str, sequences: list[Tensor], dtype: torch.dtype) -> Tensor | None:
    """Logits (tokens, vocabulary) of packed sequences; None where the model does not go with `name`."""
    try:
        model.set_attn_implementation(name)
        with torch.no_grad(), torch.autocast(model.device.type, dtype, enabled=dtype != torch.float32):
            logits: Tensor = model(**packed_inputs(sequences, model.device), use_cache=False).logits
            return logits[0].float()
    except (NotImplementedError, ValueError, RuntimeError, TypeError, ImportError):
        return None


def packed_inputs(sequences: list[Tensor], device: torch.device | str = "cpu") -> dict[str, Any]:
    """What a model is given for sequences that lie one behind the other in one row."""
    lengths = torch.tensor([len(ids) for ids in sequences])
    bounds = torch.nn.functional.pad(lengths.cumsum(0), (1, 0)).to(device, torch.int32)
    longest = int(lengths.max())
    return {
        "input_ids": torch.cat(sequences)[None].to(device),
        "position_ids": torch.cat([torch.arange(len(ids)) for ids in sequences])[None].to(device),
        "cu_seq_lens_q": bounds,
        "cu_seq_lens_k": bounds,
        "max_length_q": longest,
        "max_length_k": longest,
    }


def close(logits: Tensor, reference: Tensor) -> bool:
    """Equal up to the rounding of 16-bit numbers."""
    return bool((logits - reference).norm() <= 0.03 * reference.norm())
