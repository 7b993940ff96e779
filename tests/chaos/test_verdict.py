"""The proof can fail: what `make chaos` finds wrong in a job's folder."""

import json
from pathlib import Path

import numpy
import pytest
from safetensors.numpy import save_file

from qlora_ui.events import Attempt, Ended, EventWriter, Metrics
from tests.chaos.verdict import faults_of, finishes


def job(folder: Path, losses: dict[int, float], codes: dict[int, int], weight: float = 1.0) -> Path:
    """A folder whose last attempt begins at step 2, with these losses."""
    (folder / "adapter").mkdir(parents=True)
    save_file({"a": numpy.array([weight])}, folder / "adapter" / "adapter_model.safetensors")
    writer = EventWriter(folder / "events.jsonl")
    writer.append(Attempt(1))
    for step in (1, 2, 3):
        writer.append(Metrics(step, 0.1, {"loss": losses.get(step, 9.0) if step < 3 else 9.0}))
    writer.append(Attempt(2, from_step=2))
    for step in sorted(losses):
        if step > 2:
            writer.append(Metrics(step, 0.1, {"loss": losses[step]}))
    writer.close()
    for attempt, code in codes.items():
        (folder / f"exit.{attempt}.json").write_text(json.dumps({"attempt": attempt, "code": code}))
    return folder


LOSSES = {1: 3.0, 2: 2.0, 3: 1.5, 4: 1.0}
CODES = {1: -9, 2: 0}


@pytest.fixture
def alone(tmp_path: Path) -> Path:
    return job(tmp_path / "alone", LOSSES, CODES)


def test_a_stitched_curve_is_the_same(alone: Path, tmp_path: Path) -> None:
    near = {step: loss + 5e-5 for step, loss in LOSSES.items()}
    assert faults_of(job(tmp_path / "job", near, CODES, 1.00005), alone, 0) == []


@pytest.mark.parametrize(
    ("losses", "codes", "weight", "said"),
    [
        ({**LOSSES, 3: 1.6}, CODES, 1.0, "loss differs by 0.1, first at step 3"),
        ({1: 3.0, 2: 2.0, 4: 1.0}, CODES, 1.0, "steps [3] are not on its curve"),
        ({**LOSSES, 5: 0.9}, CODES, 1.0, "loss at steps [5], which there are not"),
        (LOSSES, {1: 0, 2: 0}, 1.0, "finished 2 times"),
        (LOSSES, {1: -9, 2: 1}, 1.0, "finished 0 times"),
        (LOSSES, CODES, 1.5, "adapter differs by 0.5"),
    ],
)
def test_what_is_wrong_is_said(
    alone: Path, tmp_path: Path, losses: dict[int, float], codes: dict[int, int], weight: float, said: str
) -> None:
    assert faults_of(job(tmp_path / "job", losses, codes, weight), alone, 0) == [said]


def test_only_a_line_that_was_cut_may_lack(alone: Path, tmp_path: Path) -> None:
    assert faults_of(job(tmp_path / "job", {1: 3.0, 2: 2.0, 4: 1.0}, CODES), alone, 1) == []


def test_an_adapter_that_is_torn_or_missing(alone: Path, tmp_path: Path) -> None:
    torn = job(tmp_path / "job", LOSSES, CODES)
    (torn / "adapter" / "adapter_model.safetensors").write_bytes(b"torn")
    assert faults_of(torn, alone, 0)[0].startswith("adapter: ")
    (torn / "adapter" / "adapter_model.safetensors").unlink()
    assert faults_of(torn, alone, 0)[0].startswith("adapter: ")


def test_a_worker_whose_parent_was_killed_says_itself_that_it_finished(tmp_path: Path) -> None:
    job(tmp_path, LOSSES, {1: -9})
    assert finishes(tmp_path) == 0
    writer = EventWriter(tmp_path / "events.jsonl")
    writer.append(Ended(0))
    writer.close()
    assert finishes(tmp_path) == 1
