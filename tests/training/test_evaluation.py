"""An evaluation changes nothing of the training that follows (bitsandbytes repacks weights in eval mode)."""

from pathlib import Path
from typing import Any

import bitsandbytes
import pytest
import torch
from peft import LoraConfig, get_peft_model

from qlora_ui.config import Quantization
from qlora_ui.training import base_model
from qlora_ui.training.base_model import compute_dtype, load_base
from qlora_ui.training.dataset import TokenRow, collate, pack
from qlora_ui.training.loss import SummedLoss

CPU = torch.device("cpu")


def batches() -> list[dict[str, Any]]:
    torch.manual_seed(3)
    rows = []
    for number in range(6):
        ids = torch.randint(3, 400, (40,)).tolist()
        rows.append(TokenRow(number, ids, ids))
    return [collate([bin]) for bin in pack(rows, 64, 0)]


def gradients(folder: Path, evaluate: bool) -> dict[str, torch.Tensor]:
    """Of the second step, after an evaluation between the two or none."""
    dtype = compute_dtype(CPU)
    model = load_base(folder, Quantization(), CPU, dtype)
    torch.manual_seed(0)
    model = get_peft_model(
        model, LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear", init_lora_weights=False)
    )
    loss = SummedLoss(model.get_base_model(), dtype)
    first, second, held_out, *_ = batches()
    optimizer = torch.optim.SGD([weight for weight in model.parameters() if weight.requires_grad], 1e-3)
    model.train()
    loss(first).backward()
    optimizer.step()
    optimizer.zero_grad()
    if evaluate:
        model.eval()
        with torch.no_grad():
            loss(held_out)
        model.train()
    loss(second).backward()
    return {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


def test_gradients_are_those_of_a_run_that_never_evaluated(tiny_model: Path) -> None:
    never, evaluated = gradients(tiny_model, evaluate=False), gradients(tiny_model, evaluate=True)
    assert never.keys() == evaluated.keys()
    for name in never:
        assert never[name].abs().max() > 0, name
        torch.testing.assert_close(evaluated[name], never[name], rtol=0, atol=0)


def test_weights_are_four_bit_and_stay_so(tiny_model: Path) -> None:
    model = load_base(tiny_model, Quantization(), CPU, torch.bfloat16)
    layers = [layer for layer in model.modules() if isinstance(layer, bitsandbytes.nn.Linear4bit)]
    assert len(layers) == 2 * 7
    for layer in layers:
        state = layer.weight.quant_state
        assert layer.weight.dtype == torch.uint8
        assert layer.weight.numel() == layer.in_features * layer.out_features // 2
        assert state.quant_type == "nf4" and state.nested  # nested: the double quantisation
    before = [layer.weight.data.clone() for layer in layers]
    model.eval()
    with torch.no_grad():
        model(torch.arange(5)[None])
    assert all(torch.equal(layer.weight.data, packed) for layer, packed in zip(layers, before, strict=True))


@pytest.mark.parametrize(
    ("able", "speed", "expected"),
    [
        ({"avx512_bf16": True}, 2.0, torch.bfloat16),
        ({"amx_bf16": True}, 8.0, torch.bfloat16),
        ({"avx512_bf16": True}, 0.5, torch.float32),  # it has the instructions, and they are slow
        ({}, 2.0, torch.float32),
    ],
)
def test_a_cpu_computes_in_bf16_only_if_that_is_faster(
    able: dict[str, bool], speed: float, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = {torch.float32: 1.0, torch.bfloat16: 1.0 / speed}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    monkeypatch.setattr(base_model, "product_seconds", seconds.__getitem__)
    assert compute_dtype(CPU) == expected


def test_products_are_timed() -> None:
    assert 0 < base_model.product_seconds(torch.float32) < 5


@pytest.mark.parametrize(("native", "expected"), [(True, torch.bfloat16), (False, torch.float16)])
def test_an_old_gpu_computes_in_fp16(
    native: bool, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation or native
    )
    assert compute_dtype(torch.device("cuda")) == expected


def test_a_cpu_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faster = {torch.bfloat16: 1.0, torch.float32: 2.0}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True, "cpu_name": "one"})
    monkeypatch.setattr(base_model, "product_seconds", lambda dtype: faster[dtype])
    assert base_model.kept_dtype(CPU, tmp_path) == torch.bfloat16
    faster[torch.bfloat16] = 9.0  # the machine is busy
    assert base_model.kept_dtype(CPU, tmp_path) == torch.bfloat16
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True, "cpu_name": "other"})
    assert base_model.kept_dtype(CPU, tmp_path) == torch.float32, "another machine on the same home"
    (tmp_path / "cpu_dtype.json").write_text("{")
    assert base_model.kept_dtype(CPU, tmp_path) == torch.float32
