"""Counted without loading = counted by PEFT, on tiny models of the families the page suggests."""

from pathlib import Path

import pytest
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
from transformers.models.gemma2 import Gemma2Config
from transformers.models.gemma3 import Gemma3TextConfig
from transformers.models.llama import LlamaConfig
from transformers.models.mistral import MistralConfig
from transformers.models.phi3 import Phi3Config
from transformers.models.qwen2 import Qwen2Config
from transformers.models.qwen3 import Qwen3Config
from transformers.models.smollm3 import SmolLM3Config

from qlora_ui import models
from qlora_ui.config import Lora
from qlora_ui.estimates import adapted, adapter_bytes, trainable_parameters

# PEFT 0.21 still asks by the old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

TINY = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0,
}  # fmt: skip
FAMILIES = {
    "llama": LlamaConfig(**TINY),
    "llama, tied": LlamaConfig(**TINY, tie_word_embeddings=True),
    "smollm3": SmolLM3Config(**TINY),
    "qwen2": Qwen2Config(**TINY),
    "qwen3": Qwen3Config(**TINY),
    "mistral": MistralConfig(**TINY),
    "gemma2": Gemma2Config(**TINY),
    "gemma3": Gemma3TextConfig(**TINY),
    "phi3": Phi3Config(**TINY),
}


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request, tmp_path_factory) -> Path:
    path: Path = tmp_path_factory.mktemp("model")
    AutoModelForCausalLM.from_config(FAMILIES[request.param]).save_pretrained(path)
    return path


@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "down_proj", "qkv_proj"]])
def test_trainable_parameters_are_peft_s(folder, targets, tmp_path):
    lora = Lora(r=4, target_modules=targets)
    facts = models.facts(folder)
    assert facts is not None
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert facts.total_parameters == model.num_parameters()
    adapter = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **lora.model_dump()))
    trainable, _ = adapter.get_nb_trainable_parameters()
    assert trainable_parameters(facts, lora) == trainable > 0
    assert {f"base_model.model.{layer.name}" for layer in adapted(facts, lora)} == {
        name.removesuffix(".lora_A.default")
        for name, _ in adapter.named_modules()
        if name.endswith(".lora_A.default")
    }
    adapter.save_pretrained(tmp_path)
    saved = (tmp_path / "adapter_model.safetensors").stat().st_size
    assert 0 <= saved - adapter_bytes(facts, lora) < 20_000  # the rest is the header
