"""Plans after an out of memory, and the room a job needs on the disk."""

from pathlib import Path

import pytest

from qlora_ui import attempts, checks, estimates, models, owner, plans
from qlora_ui.config import Batch, Lora, Model, TrainConfig, Trainer
from qlora_ui.texts import LANGUAGES, text

FACTS = models.demo_facts()
MB = 1_000_000


def config(micro: int = 2, length: int = 512, **trainer: object) -> TrainConfig:
    return TrainConfig(
        trainer=Trainer(per_device_train_batch_size=micro, **trainer), batch=Batch(max_length=length)
    )


@pytest.mark.parametrize(("bins", "peak"), [(1, 2134), (2, 3225), (3, 4562)])
def test_memory_is_what_was_measured_of_the_demo_model(bins: int, peak: int) -> None:
    """Peaks measured in float32 on a CPU with bins of 512 tokens, in MB."""
    assert estimates.memory(config(bins), FACTS, on_gpu=False).total == pytest.approx(peak * MB, rel=0.05)


def test_each_change_says_what_it_saves_and_how_the_job_goes_on() -> None:
    found = plans.changes(config(), FACTS, {"used": 3200 * MB, "free": 50 * MB}, on_gpu=False)
    ways = {next(iter(change.overrides)): change.way for change in found}
    assert ways == {
        "trainer.per_device_train_batch_size": "exact",
        "trainer.activation_checkpointing": "exact",
        "batch.max_length": "epoch",
        "lora.r": "anew",
    }
    fits = {next(iter(change.overrides)): change.fits for change in found}
    assert fits["trainer.per_device_train_batch_size"] and not fits["lora.r"]
    rank = next(change for change in found if "lora.r" in change.overrides)
    assert 0 < rank.saves < 40 * MB, "a smaller r is shown to be little"


def test_what_one_change_cannot_do_several_do_together() -> None:
    found = plans.changes(config(length=2048), FACTS, {"used": 1400 * MB, "free": 0}, on_gpu=False)
    assert [change.fits for change in found[:-1]] == [False] * 4
    together = found[-1]
    assert together.fits and len(together.overrides) > 1
    assert config(length=2048).overridden(together.overrides)


def test_nothing_is_offered_twice_and_nothing_without_facts() -> None:
    small = config(micro=1, length=128, activation_checkpointing=True).overridden({"lora.r": 1})
    assert plans.changes(small, FACTS, {}, on_gpu=True) == []
    assert plans.changes(config(), None, {}, on_gpu=True) == []


def test_a_job_that_the_disk_cannot_take_is_refused_with_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = TrainConfig(lora=Lora(r=64))
    need = estimates.disk(large, FACTS) + models.to_download(Model(), tmp_path)
    monkeypatch.setattr(checks, "free_disk", lambda folder: need)
    assert checks.room(large, FACTS, tmp_path) is None
    monkeypatch.setattr(checks, "free_disk", lambda folder: need - 1)
    found = checks.room(large, FACTS, tmp_path / "new")
    assert found and found.level == "refuse"
    for language in LANGUAGES:
        assert "GB" in text(language, "check.no_room.what", **found.values)


def test_a_model_is_downloaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model(source="hub", name_or_path="Qwen/Qwen3-0.6B")
    assert models.to_download(model, tmp_path) == pytest.approx(1.2e9, rel=0.01)
    snapshot = tmp_path / "models--Qwen--Qwen3-0.6B"
    (snapshot / "snapshots" / "abc").mkdir(parents=True)
    (snapshot / "snapshots" / "abc" / "model.safetensors").touch()
    (snapshot / "refs").mkdir()
    (snapshot / "refs" / "main").write_text("abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert models.to_download(model, tmp_path) == 0
    assert models.to_download(Model(source="folder", name_or_path="/m"), tmp_path) == 0


def test_the_micro_batch_that_it_really_had_is_halved() -> None:
    found = plans.changes(config(micro=64), FACTS, {"micro_batch": 4}, on_gpu=True)
    assert found[0].overrides == {"trainer.per_device_train_batch_size": 2}
    assert attempts.retry(config(micro=64), owner.EXIT_OUT_OF_MEMORY, used=4) == found[0].overrides
    assert attempts.retry(config(micro=64), owner.EXIT_OUT_OF_MEMORY, used=1) is None


def test_a_loss_that_exploded_is_retried_with_a_tenth_of_the_rate() -> None:
    calmer = plans.calmer(config(learning_rate=3e-4))
    assert calmer.overrides == {"trainer.learning_rate": 3e-5} and calmer.way == "exact"
