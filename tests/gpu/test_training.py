"""The recipe on a GPU: it learns there, and `varlen_attn` keeps packed rows apart as the CPU's loop does."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from qlora_ui.config import TrainConfig
from qlora_ui.events import Environment
from qlora_ui.training.attention import PACKED, choose, packed_inputs
from tests.training.conftest import Start, rows_file, tiny_config, tiny_model, train_here  # noqa: F401
from tests.training.test_packing import SIZES, sequences
from tests.training.test_recipe import assert_learned

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA"),
]


def test_it_learns(train_here: Start, tiny_config: TrainConfig) -> None:  # noqa: F811
    run = train_here(tiny_config)
    assert_learned(run)
    (environment,) = run.told(Environment)
    assert environment.device == torch.cuda.get_device_name()
    assert environment.dtype in ("bfloat16", "float16")
    assert all(memory > 0 for memory in run.metric("memory"))


@pytest.mark.skipif(
    torch.cuda.is_available() and torch.cuda.get_device_capability() < (8, 0),
    reason="no CUDA with flash attention",
)
@pytest.mark.parametrize("window", [None, 5])
def test_packed_rows_give_what_each_gives_alone(window: int | None) -> None:
    torch.manual_seed(0)
    model = (
        LlamaForCausalLM(LlamaConfig(**SIZES))
        if window is None
        else MistralForCausalLM(MistralConfig(**SIZES, sliding_window=window))
    )
    model = model.to("cuda", torch.bfloat16).eval()
    assert choose(model, torch.bfloat16) == PACKED
    rows = sequences()
    with torch.no_grad():
        packed = model(**packed_inputs(rows, "cuda"), use_cache=False).logits[0]
        alone = [model(**packed_inputs([ids], "cuda"), use_cache=False).logits[0] for ids in rows]
    assert (packed - torch.cat(alone)).norm() < 0.02 * packed.norm()
