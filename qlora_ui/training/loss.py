"""The loss of packed bins: cross-entropy summed over the positions that have a label, and over no others.

The head of a language model is as wide as its vocabulary, so its output is the largest tensor of a step. Here
it is made for one tile of positions at a time, with its gradient at once, and only where there is a label.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, pad
from transformers import PreTrainedModel

from qlora_ui.training.dataset import IGNORED

TILE = 128  # positions; also keeps shapes the same, for which oneDNN would otherwise compile anew
OURS = ("labels", "shift_labels", "tokens", "rows")  # of a batch: not the model's
Head = Callable[[Tensor], Tensor]


def summed_loss(model: PreTrainedModel, inputs: dict[str, Any]) -> Tensor:
    """Sum of the cross-entropy over all labelled positions (float32), for `model`, its LoRA layers inside."""
    targets = inputs["shift_labels"][0]
    sequence = {name: value for name, value in inputs.items() if name not in OURS}
    labelled = (targets != IGNORED).nonzero()[:, 0]
    hidden = model.base_model(**sequence, use_cache=False).last_hidden_state[0]
    missing = -len(labelled) % TILE
    hidden = hidden[pad(labelled, (0, missing))]
    targets = pad(targets[labelled], (0, missing), value=IGNORED)
    return _TiledLoss.apply(hidden, targets, head_of(model))  # type: ignore[no-any-return]


def head_of(model: PreTrainedModel) -> Head:
    """Hidden states → logits, with what some families do to them after the output layer."""
    layer = model.get_output_embeddings()
    config = model.config.get_text_config()
    cap = getattr(config, "final_logit_softcapping", None)  # Gemma 2 and later
    factor = getattr(config, "logit_scale", None) or 1.0  # Cohere
    factor /= getattr(config, "logits_scaling", None) or 1.0  # Granite

    def head(hidden: Tensor) -> Tensor:
        logits = layer(hidden).float() * factor if factor != 1.0 else layer(hidden).float()
        return logits if cap is None else torch.tanh(logits / cap) * cap

    return head


class _TiledLoss(torch.autograd.Function):
    """The head is frozen, so its only gradient is that of its input: taken tile by tile in the forward."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, targets: Tensor, head: Head) -> Tensor:
        total = hidden.new_zeros((), dtype=torch.float32)
        gradient = torch.empty_like(hidden) if hidden.requires_grad else None
        for start in range(0, len(hidden), TILE):
            part = slice(start, start + TILE)
            tile = hidden[part].detach().requires_grad_(gradient is not None)
            with torch.set_grad_enabled(gradient is not None):
                loss = cross_entropy(head(tile), targets[part], ignore_index=IGNORED, reduction="sum")
            total += loss.detach()
            if gradient is not None:
                gradient[part] = torch.autograd.grad(loss, tile)[0]
        ctx.gradient = gradient
        return total

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor | None, None, None]:
        return ctx.gradient * above[0], None, None
