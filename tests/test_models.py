"""Model facts from headers alone, local folders, suggestions; what a config will come to; findings."""

import json
import struct
from pathlib import Path

import pytest

from qlora_ui import checks, estimates, models
from qlora_ui.config import Batch, Lora, TrainConfig, Trainer
from qlora_ui.data.examples import inspect
from qlora_ui.hardware import Gpu
from qlora_ui.texts import LANGUAGES, text

TENSORS = {
    "model.embed_tokens.weight": [100, 8],
    "model.layers.0.self_attn.qkv_proj.weight": [24, 8],
    "model.layers.0.self_attn.qkv_proj.bias": [24],
    "model.layers.0.mlp.down_proj.weight": [8, 32],
    "model.layers.0.input_layernorm.weight": [8],
    "lm_head.weight": [100, 8],
}


def save(path: Path, tensors: dict[str, list[int]]) -> None:
    """A safetensors file without its data: only the header is ever read."""
    entries = {
        name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]} for name, shape in tensors.items()
    }
    header = json.dumps({"__metadata__": {"format": "pt"}, **entries}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)


def model(folder: Path, tensors: dict[str, list[int]] = TENSORS, **config) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    save(folder / "model.safetensors", tensors)
    return folder


def test_facts_from_a_header(tmp_path):
    facts = models.facts(model(tmp_path / "m"))
    assert facts is not None
    assert facts.linears == (
        models.Linear("model.layers.0.self_attn.qkv_proj", 8, 24),
        models.Linear("model.layers.0.mlp.down_proj", 32, 8),
    )
    assert facts.total_parameters == 800 + 192 + 24 + 256 + 8 + 800


def test_tied_weights_count_once(tmp_path):
    facts = models.facts(model(tmp_path / "m", tie_word_embeddings=True))
    assert facts is not None
    assert facts.total_parameters == 800 + 192 + 24 + 256 + 8


def test_shards_are_those_of_the_index(tmp_path):
    folder = model(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    names = list(TENSORS)
    save(folder / "model-1.safetensors", {name: TENSORS[name] for name in names[:3]})
    save(folder / "model-2.safetensors", {name: TENSORS[name] for name in names[3:]})
    save(folder / "consolidated.safetensors", TENSORS)  # the same once more, as some repositories have it
    where = {name: f"model-{1 if name in names[:3] else 2}.safetensors" for name in names}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    facts = models.facts(folder)
    assert facts is not None
    assert facts.total_parameters == 2080


@pytest.mark.parametrize("broken", [b"", b"short", struct.pack("<Q", 10**12), struct.pack("<Q", 4) + b"oops"])
def test_what_cannot_be_read_is_unknown(tmp_path, broken):
    folder = model(tmp_path / "m")
    (folder / "model.safetensors").write_bytes(broken)
    assert models.facts(folder) is None


def test_no_facts_where_counting_would_be_wrong(tmp_path):
    assert models.facts(tmp_path / "none") is None
    assert models.facts(model(tmp_path / "q", quantization_config={"bits": 4})) is None
    experts = {**TENSORS, "model.layers.0.mlp.experts.0.up_proj.weight": [32, 8]}
    assert models.facts(model(tmp_path / "e", experts)) is None


def test_local_folders_are_models_inside_the_allowed_ones(tmp_path):
    top = tmp_path / "allowed"
    expected = sorted([model(top / "one"), model(top / "owner" / "two")])
    model(top / "a" / "b" / "too-deep")
    (top / "no-weights").mkdir()
    (top / "no-weights" / "config.json").write_text("{}")
    outside = model(tmp_path / "elsewhere")
    (top / "link-out").symlink_to(outside)
    (top / "link-in").symlink_to(top / "one")
    assert models.local_folders([top, tmp_path / "missing"]) == expected
    assert models.local_folders([outside]) == [outside]


def test_suggestions_span_sizes_and_families():
    sizes = [suggestion.parameters for suggestion in models.SUGGESTIONS]
    assert sizes == sorted(sizes)
    assert models.SUGGESTIONS[0].size == "135M"
    assert models.Suggestion("google/gemma-3-1b-it", 999_885_952).size == "1.0B"
    assert models.SUGGESTIONS[-1].size == "70B"
    ids = " ".join(suggestion.hub_id for suggestion in models.SUGGESTIONS).lower()
    assert all(
        family in ids for family in ("smollm2", "smollm3", "qwen3", "llama-3", "mistral", "gemma", "phi")
    )


def test_the_demo_model_is_known_before_it_is_there(tmp_path):
    assert models.demo_facts().total_parameters == 134_515_008
    assert len(models.demo_facts().linears) == 210
    assert not models.demo_ready(tmp_path)


def test_parameters_and_size_of_an_adapter(tmp_path):
    facts = models.facts(model(tmp_path / "m"))
    assert facts is not None
    assert estimates.trainable_parameters(facts, Lora(r=4)) == 4 * (8 + 24) + 4 * (32 + 8)
    only = Lora(r=4, target_modules=["down_proj"])
    assert estimates.trainable_parameters(facts, only) == 160
    assert estimates.adapter_bytes(facts, only) == 640
    assert estimates.trainable_parameters(facts, Lora(target_modules=["proj"])) == 0  # whole names only
    assert estimates.trainable_parameters(models.demo_facts(), Lora(r=8)) == 2_442_240


@pytest.mark.parametrize(
    ("rows", "trainer", "expected"),
    [
        (200, Trainer(), 42),  # the demo's: what the recipe makes of them
        (1, Trainer(), 3),
        (160, Trainer(num_train_epochs=0.5), 6),
        (5, Trainer(max_steps=7), 7),
    ],
)
def test_steps(rows, trainer, expected):
    config = TrainConfig(trainer=trainer, batch=Batch(rows_per_step=16, max_length=512))
    assert estimates.steps(rows, config, inspect(None, "").length) == expected


def test_a_step_is_never_less_than_a_bin():
    config = TrainConfig(batch=Batch(rows_per_step=1, max_length=512))
    assert estimates.steps(40, config, length=120) == 3 * 5


def gpu(others: int) -> Gpu:
    return Gpu(0, "GPU", total=24 * 10**9, free=24 * 10**9 - others, others=others)


def keys(*arguments, config: TrainConfig | None = None) -> list[str]:
    found = checks.findings(config or TrainConfig(), *arguments)
    for finding in found:
        for part in ("what", "do"):
            assert all(
                text(language, f"check.{finding.key}.{part}", **finding.values) for language in LANGUAGES
            )
    return [finding.key for finding in found]


def test_a_busy_gpu_is_said_only_if_none_is_free():
    assert keys([]) == []
    assert keys([gpu(9 * 10**9)]) == ["gpu_busy"]
    assert keys([gpu(9 * 10**9), gpu(10**8)]) == []


def test_too_few_steps_and_layers_that_are_not_there():
    assert keys([], 42) == []
    assert keys([], 6) == ["few_steps"]
    named = TrainConfig(lora=Lora(target_modules=["qkv_proj"]))
    assert keys([], 6, models.demo_facts(), config=named) == ["no_layers", "few_steps"]
    assert keys([], None, models.demo_facts()) == []
