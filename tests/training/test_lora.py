"""The faster LoRA forward is PEFT's, number for number up to rounding, and is gone after the training."""

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from qlora_ui.config import Quantization
from qlora_ui.training.base_model import load_base
from qlora_ui.training.lora import fast_lora

IDS = torch.arange(3, 40)[None]


@pytest.fixture(params=[False, True], ids=["alpha/r", "rslora"])
def model(request: pytest.FixtureRequest, tiny_model: Path) -> PeftModel:
    base = load_base(tiny_model, Quantization(), torch.device("cpu"), torch.float32)
    torch.manual_seed(0)
    settings = LoraConfig(
        r=4,
        lora_alpha=32,
        use_rslora=request.param,
        target_modules="all-linear",
        init_lora_weights=False,
        task_type="CAUSAL_LM",
    )
    return get_peft_model(base, settings)


def loss_and_gradients(model: PeftModel) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad()
    loss = model(IDS, labels=IDS).loss
    loss.backward()
    return loss.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def test_loss_and_gradients_are_pefts(model: PeftModel) -> None:
    own_loss, own = loss_and_gradients(model)
    with fast_lora(model):
        loss, gradients = loss_and_gradients(model)
    torch.testing.assert_close(loss, own_loss)
    assert gradients.keys() == own.keys() and len(own) == 2 * 2 * 7
    for name in own:
        torch.testing.assert_close(gradients[name], own[name], rtol=1e-4, atol=1e-5)


def test_in_16_bits_a_layer_rounds_less_than_pefts(model: PeftModel) -> None:
    layer = model.get_base_model().model.layers[0].mlp.gate_proj
    x = torch.randn(1, 37, 64).bfloat16()
    with torch.no_grad():
        exact = layer(x.float())
        with torch.autocast("cpu", torch.bfloat16):
            own = layer(x)
            with fast_lora(model):
                fast = layer(x)
    assert fast.dtype == own.dtype == torch.bfloat16
    assert (fast - exact).norm() < (own - exact).norm()


def test_afterwards_the_adapter_can_be_put_aside_again(model: PeftModel) -> None:
    with torch.no_grad():
        with fast_lora(model):
            pass
        adapted = model(IDS).logits
        with model.disable_adapter():
            plain = model(IDS).logits
    assert not torch.allclose(adapted, plain)


def test_dropout_is_kept(tiny_model: Path) -> None:
    base = load_base(tiny_model, Quantization(), torch.device("cpu"), torch.float32)
    settings = LoraConfig(r=4, lora_dropout=0.5, target_modules="all-linear", init_lora_weights=False)
    model = get_peft_model(base, settings).train()
    with fast_lora(model), torch.no_grad():
        assert not torch.allclose(model(IDS).logits, model(IDS).logits)
