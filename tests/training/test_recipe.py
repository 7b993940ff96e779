"""The recipe, end to end, with real 4-bit weights: it learns, and a recipe that does not learn is noticed."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from qlora_ui.config import TrainConfig
from qlora_ui.events import Answer, Artifact, Environment, Log, Metrics, Phase
from tests.training.conftest import Run, Start


def with_trainer(config: TrainConfig, **changes: Any) -> TrainConfig:
    """The config with other trainer settings, unchecked: a learning rate of 0 is none a person may set."""
    return config.model_copy(update={"trainer": config.trainer.model_copy(update=changes)})


@pytest.fixture(scope="module")
def learned(train_here: Start, tiny_config: TrainConfig) -> Run:
    return train_here(tiny_config)


def assert_learned(run: Run) -> None:
    losses = run.metric("eval_loss")
    assert losses[-1] < 0.7 * losses[0], "the held-out loss did not fall"
    weights = load_file(run.folder / "adapter" / "adapter_model.safetensors")
    second = [tensor for name, tensor in weights.items() if "lora_B" in name]
    assert second and all(tensor.abs().max() > 0 for tensor in second), "lora_B is still zero"
    answers = run.told(Answer)
    before = [answer.answer for answer in answers if answer.step == 0]
    after = [answer.answer for answer in answers if answer.step > 0]
    assert len(before) == len(after) == 3
    assert before != after, "the answers are the base model's"


def test_it_learns(learned: Run) -> None:
    assert_learned(learned)


def test_without_learning_the_same_test_fails(train_here: Start, tiny_config: TrainConfig) -> None:
    idle = train_here(with_trainer(tiny_config, learning_rate=0.0, num_train_epochs=1.0))
    with pytest.raises(AssertionError):
        assert_learned(idle)


def test_adapter_is_a_normal_peft_folder(learned: Run, tiny_model: Path, tiny_config: TrainConfig) -> None:
    adapter = learned.folder / "adapter"
    assert TrainConfig.model_validate_json((adapter / "config.json").read_bytes()) == tiny_config
    tokenizer = AutoTokenizer.from_pretrained(adapter)
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(tiny_model).chat_template
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    model = PeftModel.from_pretrained(base, adapter)
    ids = tokenizer("Where is the mast?", return_tensors="pt").input_ids
    with torch.no_grad():
        changed = model(ids).logits
        with model.disable_adapter():
            unchanged = model(ids).logits
    assert not torch.allclose(changed, unchanged)
    assert model.peft_config["default"].base_model_name_or_path == str(tiny_model)
    assert {tensor.dtype for tensor in load_file(adapter / "adapter_model.safetensors").values()} == {
        torch.float32
    }
    *_, artifact = learned.told(Artifact)
    assert (artifact.kind, artifact.path) == ("adapter", "adapter")
    assert artifact.size == sum(path.stat().st_size for path in adapter.iterdir())
    assert not list(learned.folder.glob("adapter.*"))


def test_every_logged_step_has_all_numbers(learned: Run) -> None:
    steps = [event for event in learned.told(Metrics) if "loss" in event.values]
    assert [event.step for event in steps] == list(range(1, len(steps) + 1))
    names = {"loss", "learning_rate", "grad_norm", "tokens_per_second", "memory"}
    assert all(event.values.keys() == names for event in steps)
    assert learned.told(Metrics)[-1].values.keys() == {"eval_loss"}


def test_environment_counts_the_parameters(learned: Run, tiny_config: TrainConfig) -> None:
    (environment,) = learned.told(Environment)
    # per layer: q and o 64→64, k and v 64→32, gate and up 64→128, down 128→64; each r × (in + out)
    a_layer = 2 * (64 + 64) + 2 * (64 + 32) + 3 * (64 + 128)
    assert environment.trainable_parameters == 2 * tiny_config.lora.r * a_layer
    assert (environment.quantization, environment.threads) == ("nf4_double", torch.get_num_threads())
    assert environment.versions["bitsandbytes"]


def test_phases_come_in_order_and_count(learned: Run) -> None:
    phases = learned.told(Phase)
    order = list(dict.fromkeys(phase.name for phase in phases))
    assert order == ["reading_data", "loading_model", "training", "evaluating", "saving"]
    (packed,) = [event for event in learned.told(Log) if event.key == "packed"]
    training = next(phase for phase in phases if phase.name == "training")
    per_epoch = -(-packed.values["bins"] // packed.values["per_step"])
    assert training.total == 3 * per_epoch
    assert training.unit == "steps"


def test_everything_told_has_a_sentence(learned: Run) -> None:
    from qlora_ui.texts import LANGUAGES, text

    for language in LANGUAGES:
        for event in learned.told(Log):
            assert text(language, f"log.{event.key}", **event.values)


def test_with_nothing_held_out_it_trains_and_asks_what_it_learned(
    train_here: Start, tiny_config: TrainConfig
) -> None:
    dataset = tiny_config.dataset.model_copy(update={"eval_share": 0.0})
    config = with_trainer(tiny_config.model_copy(update={"dataset": dataset}), max_steps=2)
    run = train_here(config)
    assert not run.metric("eval_loss")
    assert len(run.told(Answer)) == 6
    assert (run.folder / "adapter" / "adapter_model.safetensors").is_file()
