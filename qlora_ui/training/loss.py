"""The loss of packed bins: cross-entropy summed over the positions that have a label, and over no others.

The head of a language model is as wide as its vocabulary, so its output is the largest tensor of a step. Here
it is made for one tile of positions at a time, with its gradient at once, and only where there is a label.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from qlora_ui.training.attention import close, packed_inputs
from qlora_ui.training.dataset import IGNORED

TILE = 128  # positions
OURS = ("labels", "shift_labels", "tokens", "rows")  # of a batch: not the model's
Head = Callable[[Tensor], Tensor]


class SummedLoss:
    """Cross-entropy of a model, its LoRA layers inside, summed over all labelled positions of a batch."""

    def __init__(self, model: PreTrainedModel, dtype: torch.dtype) -> None:
        self.model = model
        self.dtype = dtype
        self.head = head_of(model)
        self.known = self._head_is_right()

    def __call__(self, inputs: dict[str, Any]) -> Tensor:
        """A float32 scalar. Takes what `dataset.collate` gives."""
        targets = inputs["shift_labels"][0]
        sequence = {name: value for name, value in inputs.items() if name not in OURS}
        labelled = (targets != IGNORED).nonzero()[:, 0]
        with self._autocast():
            if not self.known:
                logits = self.model(**sequence, use_cache=False).logits[0, labelled]
                return cross_entropy(logits.float(), targets[labelled], reduction="sum")
            hidden = self.model.base_model(**sequence, use_cache=False).last_hidden_state[0]
            return _TiledLoss.apply(hidden[labelled], targets[labelled], self.head)  # type: ignore[no-any-return, no-untyped-call]

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.model.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def _head_is_right(self) -> bool:
        """Whether `head` gives this model's own logits, tried on a few tokens, and has nothing to learn."""
        layer = self.model.get_output_embeddings()
        if layer is None or any(weight.requires_grad for weight in layer.parameters()):
            return False
        inputs = packed_inputs([torch.arange(8) % layer.out_features], self.model.device)
        with torch.no_grad(), self._autocast():
            own = self.model(**inputs, use_cache=False).logits
            ours = self.head(self.model.base_model(**inputs, use_cache=False).last_hidden_state)
        return close(ours, own.float())


def head_of(model: PreTrainedModel) -> Head:
    """Hidden states → logits, with what some families do to them after the output layer."""
    layer = model.get_output_embeddings()
    config = model.config.get_text_config()
    cap = getattr(config, "final_logit_softcapping", None)  # Gemma 2 and later
    factor = getattr(config, "logit_scale", None) or 1.0  # Cohere
    factor /= getattr(config, "logits_scaling", None) or 1.0  # Granite

    def head(hidden: Tensor) -> Tensor:
        logits: Tensor = layer(hidden).float() * factor if factor != 1.0 else layer(hidden).float()
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
                loss = cross_entropy(head(tile), targets[part], reduction="sum")
            total += loss.detach()
            if gradient is not None:
                gradient[part] = torch.autograd.grad(loss, tile)[0]
        ctx.gradient = gradient
        return total

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor | None, None, None]:
        return ctx.gradient * above[0], None, None
