"""The form's values → TrainConfig, and what is said beside a field that holds something else."""

from typing import Any

import pytest

from qlora_ui.config import LORA_MODULES, TrainConfig
from qlora_ui.presets import demo_config
from qlora_ui.ui.collect import ATTENTION, Invalid, Problem, collect, initial

FORM: dict[str, Any] = {
    "name": "",
    "model.source": "demo",
    "model.hub": "",
    "model.folder": "",
    "model.revision": "main",
    "dataset.source": "demo",
    "dataset.file": None,
    "dataset.hub": "",
    "dataset.subset": "",
    "dataset.split": "train",
    "dataset.format": "auto",
    "dataset.eval_share": 5,
    "preset": "general",
    "lora.r": 8,
    "lora.lora_alpha": 16,
    "lora.lora_dropout": 0,
    "lora.use_rslora": False,
    "lora.modules": "all-linear",
    "lora.target_modules": list(LORA_MODULES),
    "lock": False,
    "length": "epochs",
    "trainer.num_train_epochs": 3,
    "trainer.max_steps": 200,
    "trainer.learning_rate": 2e-4,
    "batch.rows_per_step": 16,
    "batch.max_length": 512,
}


def problem(**values: Any) -> Problem:
    """The only problem of a form with these values (`lora__r` is `lora.r`)."""
    with pytest.raises(Invalid) as caught:
        collect(FORM | {name.replace("__", "."): value for name, value in values.items()})
    (found,) = caught.value.problems
    return found


def config(**values: Any) -> TrainConfig:
    return collect(FORM | {name.replace("__", "."): value for name, value in values.items()})


def test_untouched_form_is_the_demo_job() -> None:
    assert collect(FORM) == demo_config()


def test_share_is_shown_as_per_cent() -> None:
    assert initial("dataset.eval_share") == 5
    assert config(dataset__eval_share=12.5).dataset.eval_share == 0.125


@pytest.mark.parametrize("typed", [12, "12", 12.0, " 12 "])
def test_any_whole_number_is_an_r(typed: Any) -> None:
    assert config(lora__r=typed).lora.r == 12


@pytest.mark.parametrize(
    ("typed", "kind"),
    [
        ("", "int_parsing"),
        ("eight", "int_parsing"),
        (None, "int_type"),
        (7.5, "int_from_float"),
        (0, "greater_than_equal"),
        (-8, "greater_than_equal"),
        (2000, "less_than_equal"),
        ("9" * 400, "less_than_equal"),
    ],
)
@pytest.mark.parametrize("path", ["lora.r", "lora.lora_alpha"])
def test_what_is_no_rank_is_said_with_what_would_be(path: str, typed: Any, kind: str) -> None:
    value = 5000 if typed == 2000 else typed
    found = problem(**{path.replace(".", "__"): value})
    assert (found.field, found.kind) == (path, kind)
    most = {"lora.r": "1024", "lora.lora_alpha": "2048"}[path]
    assert f"from 1 to {most}" in found.message("en")
    assert f"1 到 {most}" in found.message("zh")
    assert f"for example {initial(path)}" in found.message("en")


def test_an_open_bound_is_said_as_one() -> None:
    assert "more than 0 and at most 1" in problem(trainer__learning_rate=0).message("en")
    assert "大于 0 且不超过 1" in problem(trainer__learning_rate=3).message("zh")


def test_per_cent_bounds_are_said_in_per_cent() -> None:
    found = problem(dataset__eval_share=80)
    assert found.field == "dataset.eval_share"
    assert "from 0 to 50" in found.message("en") and "for example 5" in found.message("en")


def test_hub_id_is_asked_for_beside_its_own_box() -> None:
    assert config(model__source="hub", model__hub=" Qwen/Qwen3-4B ").model.name_or_path == "Qwen/Qwen3-4B"
    missing = problem(model__source="hub")
    assert (missing.field, missing.kind) == ("model.hub", "hub_missing")
    wrong = problem(dataset__source="hub", dataset__hub="https://huggingface.co/x/y")
    assert (wrong.field, wrong.kind) == ("dataset.hub", "hub_id")
    assert "https://huggingface.co/x/y" in wrong.message("en")


def test_hub_fields_count_only_when_the_hub_is_chosen() -> None:
    assert config(model__hub="not an id", dataset__hub="nor this", dataset__split="x") == demo_config()


def test_folder_must_be_absolute() -> None:
    found = problem(model__source="folder", model__folder="models/mine")
    assert (found.field, found.kind) == ("model.folder", "absolute_path")


def test_upload_is_asked_for_and_taken() -> None:
    found = problem(dataset__source="file")
    assert (found.field, found.kind) == ("dataset.file", "no_file")
    upload = {"path": "/home/data/abc.jsonl", "name": "海盗.jsonl"}
    dataset = config(dataset__source="file", dataset__file=upload).dataset
    assert (dataset.path, dataset.name) == ("/home/data/abc.jsonl", "海盗.jsonl")


def test_modules_by_choice() -> None:
    assert config(lora__modules="attention").lora.target_modules == ATTENTION
    assert config(lora__modules="named", lora__target_modules=["q_proj"]).lora.target_modules == ["q_proj"]
    assert problem(lora__modules="named", lora__target_modules=[]).field == "lora.target_modules"


def test_steps_instead_of_epochs() -> None:
    assert config(length="steps").trainer.max_steps == 200
    assert config(length="epochs").trainer.max_steps == -1
    assert config(length="steps", trainer__num_train_epochs=None).trainer.max_steps == 200
    for nothing in (0, -1, -5, 1.5, None, "x", 10**9):
        wrong = problem(length="steps", trainer__max_steps=nothing)
        assert wrong.field == "trainer.max_steps" and "-1" not in wrong.message("en")
    assert config(length="epochs", trainer__max_steps=None).trainer.max_steps == -1


def test_all_problems_are_said_at_once_and_the_rest_stands() -> None:
    with pytest.raises(Invalid) as caught:
        collect(
            FORM | {"lora.r": "x", "batch.rows_per_step": 0, "model.source": "hub", "lora.lora_alpha": 64}
        )
    assert {one.field for one in caught.value.problems} == {"lora.r", "batch.rows_per_step", "model.hub"}
    draft = caught.value.draft
    assert draft.lora.lora_alpha == 64
    assert draft.lora.r == TrainConfig().lora.r


def test_a_message_never_fails_for_its_values() -> None:
    """Braces and percent signs as a person may type them."""
    found = problem(model__source="hub", model__hub="{r} %s {0}")
    assert "{r} %s {0}" in found.message("zh")


@pytest.mark.parametrize("field", ["trainer__eval_steps", "trainer__warmup_steps"])
def test_a_share_or_whole_steps(field: str) -> None:
    with pytest.raises(Invalid) as caught:
        config(**{field: 1.5})
    assert [problem.field for problem in caught.value.problems] == [field.replace("__", ".")]
    assert config(**{field: 20}).trainer.model_dump()[field.rpartition("__")[2]] == 20


def test_per_cent_is_said_as_it_was_typed() -> None:
    with pytest.raises(Invalid) as caught:
        config(dataset__eval_share=80)
    assert caught.value.problems[0].message("en").startswith("80 is out of bounds")
