"""The whole worker process against a Hub: a job from there to its end, a Stop on the way, a refusal."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qlora_ui import owner
from qlora_ui.config import Dataset, Model, TrainConfig
from qlora_ui.events import Artifact, Event, EventReader, Failure, Phase
from tests.fake_hub import FakeHub, files_of
from tests.training.conftest import job_folder
from tests.training.hub_fixtures import APPROVED
from tests.waiting import until

SECONDS = 120  # a worker imports the training libraries first, on a machine that does other things, too


@pytest.fixture
def hub(tiny_model: Path, rows_file: Path) -> Iterator[FakeHub]:
    with FakeHub(frozenset({APPROVED})) as hub:
        rules = {"gated": True, "tokens": frozenset({APPROVED})}
        hub.add("model", "org/tiny", files_of(tiny_model), **rules)
        hub.add("dataset", "org/rows", {"train.jsonl": rows_file.read_bytes()}, **rules)
        yield hub


@pytest.fixture
def config(tiny_config: TrainConfig) -> TrainConfig:
    few = tiny_config.trainer.model_copy(update={"max_steps": 2})
    return tiny_config.model_copy(
        update={
            "model": Model(source="hub", name_or_path="org/tiny"),
            "dataset": Dataset(source="hub", path="org/rows", eval_share=0.1),
            "trainer": few,
        }
    )


@contextmanager
def worker(
    hub: FakeHub, home: Path, config: TrainConfig, **env: str
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    folder = job_folder(home, config)
    environment = os.environ | {
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(home / "hf"),
        "HF_HUB_DISABLE_XET": "1",
    }
    environment.pop("HF_TOKEN", None)
    command = [sys.executable, "-m", "qlora_ui.training", str(folder), "--attempt", "1"]
    with (folder / "worker.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment | env)
        try:
            yield process, folder
        finally:
            process.kill()
            process.wait()


def told(folder: Path, kind: type[Event]) -> list[Event]:
    return [event for event in EventReader(folder / "events.jsonl").read() if isinstance(event, kind)]


def test_a_job_from_the_hub_trains_to_its_end(hub: FakeHub, tmp_path: Path, config: TrainConfig) -> None:
    with worker(hub, tmp_path, config, HF_TOKEN=APPROVED) as (process, folder):
        assert process.wait(SECONDS) == owner.EXIT_FINISHED, (folder / "worker.log").read_text()
    assert told(folder, Artifact)
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()
    downloads = [phase for phase in told(folder, Phase) if phase.name == "downloading"]
    weights = len(hub.repositories["model", "org/tiny"].files["model.safetensors"])
    assert downloads[-1].done == downloads[-1].total > weights
    assert APPROVED in {asked.token for asked in hub.requests}
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(kept) > 10
    assert not [path for path in kept if APPROVED.encode() in path.read_bytes()]


def weights_are_coming(folder: Path) -> bool:
    return any(phase.total > 100_000 and phase.done > 20_000 for phase in told(folder, Phase))


def test_stop_ends_a_slow_download_in_seconds(hub: FakeHub, tmp_path: Path, config: TrainConfig) -> None:
    hub.rate = 4000  # the weights would take two minutes
    with worker(hub, tmp_path, config, HF_TOKEN=APPROVED) as (process, folder):
        until(lambda: weights_are_coming(folder), seconds=SECONDS)
        process.terminate()
        assert process.wait(5) == owner.EXIT_STOPPED
    assert not told(folder, Failure)
    (part,) = (tmp_path / "hf" / "hub" / "models--org--tiny" / "blobs").glob("*.part")
    assert part.stat().st_size > 4000


def test_a_refusal_is_the_last_word(hub: FakeHub, tmp_path: Path, config: TrainConfig) -> None:
    with worker(hub, tmp_path, config) as (process, folder):
        assert process.wait(SECONDS) == owner.EXIT_FAILED
    (failure,) = told(folder, Failure)
    assert failure.key == "dataset_gated"
    assert failure.values["url"] == f"{hub.endpoint}/datasets/org/rows"
    assert "GatedRepoError" in failure.traceback
