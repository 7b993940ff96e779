"""What is kept on the disk, and how a job goes on from it when it is not simply continued."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, Trainer

from qlora_ui import attempts, checkpoints
from qlora_ui.config import TrainConfig
from qlora_ui.errors import UserError
from qlora_ui.events import Artifact, Attempt, Log, Metrics
from qlora_ui.training.failures import explain
from qlora_ui.training.saving import staged
from qlora_ui.training.worker import Superseded, Worker
from tests.training.conftest import Killed, Run, attempt_here, job_folder

WEIGHTS = "adapter_model.safetensors"


def saving_often(config: TrainConfig, **changes: Any) -> TrainConfig:
    return config.overridden({"keep.checkpoint_minutes": 1e-6, "trainer.num_train_epochs": 1, **changes})


def interrupted(home: Path, config: TrainConfig, at: int = 6) -> Run:
    """A job with a checkpoint of each of its first steps, killed at a micro-batch."""
    return attempt_here(job_folder(home, config), 1, Killed, at)


def last_attempt(run: Run) -> Attempt:
    attempt: Attempt = run.told(Attempt)[-1]
    return attempt


def spoil(path: Path) -> None:
    """One byte is another, the size the same."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def test_a_damaged_checkpoint_is_told_and_the_one_before_is_used(
    tmp_path: Path, tiny_config: TrainConfig
) -> None:
    run = interrupted(tmp_path, saving_often(tiny_config))
    before, newest = checkpoints.whole(run.folder)[-2:]
    spoil(newest.path / WEIGHTS)
    again = attempt_here(run.folder, 2)
    assert last_attempt(again).from_step == before.step
    assert again.keys.count("checkpoint_damaged") == 1
    assert (run.folder / "adapter" / WEIGHTS).is_file()
    assert all(checkpoints.intact(one) for one in checkpoints.whole(run.folder))


def test_with_all_of_them_damaged_it_begins_again(tmp_path: Path, tiny_config: TrainConfig) -> None:
    run = interrupted(tmp_path, saving_often(tiny_config), at=4)
    for one in checkpoints.whole(run.folder):
        spoil(one.path / "optimizer.pt")
    again = attempt_here(run.folder, 2)
    assert last_attempt(again).from_step == 0
    assert "no_checkpoint" in again.keys
    assert again.curve("loss").keys() == set(range(1, max(again.curve("loss")) + 1))


def steps_per_epoch(run: Run) -> int:
    """As the last attempt packed its rows."""
    packed = [event.values for event in run.told(Log) if event.key == "packed"][-1]
    return -(-packed["bins"] // packed["per_step"])


def test_with_a_shorter_length_the_epoch_begins_again(tmp_path: Path, tiny_config: TrainConfig) -> None:
    """With the weights and the optimiser's state; its steps, and those to come, are others."""
    config = saving_often(tiny_config, **{"trainer.num_train_epochs": 2, "batch.rows_per_step": 8})
    run = interrupted(tmp_path, config, at=25)
    before = steps_per_epoch(run)
    newest = checkpoints.latest(run.folder)
    assert newest and newest.step > newest.epoch_began == before
    attempts.write(run.folder, 2, {"batch.max_length": 32})
    again = attempt_here(run.folder, 2, Killed, 20)
    assert last_attempt(again).from_step == before
    assert "resumed_epoch" in again.keys
    done = max(again.curve("loss"))
    assert done > before
    attempts.write(run.folder, 3, {"batch.max_length": 32})
    ended = attempt_here(run.folder, 3)
    assert last_attempt(ended).from_step == done
    assert max(ended.curve("loss")) == before + steps_per_epoch(ended) != 2 * before
    assert ended.told(Metrics)[-1].epoch == 2.0
    assert ended.curve("learning_rate")[done + 1] < ended.curve("learning_rate")[done]


def test_with_another_rank_it_begins_anew_and_the_old_ones_go(
    tmp_path: Path, tiny_config: TrainConfig
) -> None:
    run = interrupted(tmp_path, saving_often(tiny_config))
    old = {one.path for one in checkpoints.whole(run.folder)}
    attempts.write(run.folder, 2, {"lora.r": 4})
    nothing_yet = attempt_here(run.folder, 2, Killed, 1)
    assert last_attempt(nothing_yet).from_step == 0
    assert "started_anew" in nothing_yet.keys
    assert {one.path for one in checkpoints.whole(run.folder)} == old
    attempts.write(run.folder, 3, {"lora.r": 4})
    attempt_here(run.folder, 3, Killed, 2)
    (only,) = checkpoints.whole(run.folder)
    assert (only.step, only.attempt) == (1, 3)
    shapes = {tensor.shape[0] for name, tensor in load_file(only.path / WEIGHTS).items() if "lora_A" in name}
    assert shapes == {4}


def test_a_full_disk_leaves_the_checkpoint_before(
    tmp_path: Path, tiny_config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = interrupted(tmp_path, saving_often(tiny_config))
    before = checkpoints.whole(run.folder)
    monkeypatch.setattr(
        Trainer,
        "_save_optimizer_and_scheduler",
        lambda trainer, folder: torch.save(trainer.optimizer.state_dict(), "/dev/full"),
    )
    with pytest.raises(RuntimeError) as caught:
        attempt_here(run.folder, 2)
    assert explain(caught.value, Worker(run.folder, 2)).key == "disk_full"
    assert checkpoints.whole(run.folder) == before
    assert all(checkpoints.intact(one) for one in before)
    assert not list((run.folder / "checkpoints").glob("*.part"))


def test_a_newer_attempt_keeps_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(tmp_path, 1)
    monkeypatch.setattr("qlora_ui.owner.superseded", lambda folder, attempt: True)
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "newer").touch()
    with pytest.raises(Superseded), staged(tmp_path / "adapter", worker) as part:
        (part / "older").touch()
    assert [path.name for path in (tmp_path / "adapter").iterdir()] == ["newer"]
    worker.end()


def test_what_a_crash_left_is_removed_or_put_back(tmp_path: Path) -> None:
    for name in ("adapter.old.part", "checkpoints/step-4.part", "checkpoints/step-2", "adapter.part"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "attempt.3.part").touch()  # the scheduler's
    checkpoints.tidy(tmp_path)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert left == {"adapter", "checkpoints", "checkpoints/step-2", "attempt.3.part"}


def test_it_ends_early_and_keeps_the_best(tmp_path: Path, tiny_config: TrainConfig) -> None:
    """A learning rate that soon spoils what was learned."""
    config = tiny_config.overridden(
        {
            "trainer.learning_rate": 0.03,
            "trainer.lr_scheduler_type": "constant",
            "trainer.warmup_steps": 0,
            "trainer.num_train_epochs": 20,
            "trainer.eval_steps": 4,
            "keep.early_stopping_patience": 2,
        }
    )
    run = attempt_here(job_folder(tmp_path, config), 1)
    losses = run.curve("eval_loss")
    best = min(losses, key=lambda step: losses[step])
    assert [step for step in losses if step > best] == [best + 4, best + 8] == list(losses)[-2:]
    assert {"early_stop", "best_kept"} <= set(run.keys)
    adapter = [artifact for artifact in run.told(Artifact) if artifact.kind == "adapter"][-1]
    assert adapter.step == best
    measured = [one for one in checkpoints.whole(run.folder) if one.loss is not None]
    kept = min(measured, key=lambda one: one.loss, default=None)
    assert kept and kept.step == best
    saved, offered = load_file(kept.path / WEIGHTS), load_file(run.folder / "adapter" / WEIGHTS)
    assert all(torch.equal(saved[name], offered[name]) for name in saved)
    again = attempt_here(run.folder, 2)  # as after a crash while it saved the adapter
    assert max(again.curve("loss")) == best + 8
    assert [artifact.step for artifact in again.told(Artifact)][-1] == best


def test_a_job_goes_on_from_its_parents_adapter(tmp_path: Path, tiny_config: TrainConfig) -> None:
    parent = attempt_here(job_folder(tmp_path, tiny_config), 1)
    parent.folder.rename(parent.folder.with_name("0123456789"))
    child = tiny_config.model_copy(update={"parent": "0123456789"}).overridden(
        {"trainer.num_train_epochs": 1, "trainer.eval_steps": 1, "lora.lora_alpha": 16}
    )
    run = attempt_here(job_folder(tmp_path, child), 1)
    # Its alpha is half the parent's, and yet it begins where the parent ended.
    assert run.curve("loss")[1] < 0.5 * parent.curve("loss")[1]
    assert run.curve("eval_loss")[1] == pytest.approx(min(parent.curve("eval_loss").values()), rel=0.5)
    assert "parent" in run.keys
    other = job_folder(tmp_path, child.overridden({"lora.r": 4}))
    with pytest.raises(UserError, match="adapter_does_not_fit"):
        attempt_here(other, 1)


def test_a_parents_adapter_answers_as_it_did(
    tmp_path: Path, tiny_config: TrainConfig, tiny_model: Path
) -> None:
    """To the last bit of what it adds, under another alpha."""
    from peft import LoraConfig, get_peft_model

    from qlora_ui.training.weights import start_from

    torch.manual_seed(0)
    settings = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False)
    first = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), settings)
    first.save_pretrained(tmp_path / "start")
    settings = LoraConfig(r=4, lora_alpha=32, use_rslora=True, target_modules="all-linear")
    second = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), settings)
    start_from(second, tmp_path / "start")
    ids = torch.arange(9)[None]
    with torch.no_grad():
        torch.testing.assert_close(second(ids).logits, first(ids).logits)
    assert isinstance(second, PeftModel)
    assert json.loads((tmp_path / "start" / "adapter_config.json").read_bytes())["lora_alpha"] == 8
