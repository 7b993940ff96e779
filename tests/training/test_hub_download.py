"""A model's files from the Hub: which, how far, through breaks, a Stop and a restart."""

import os
import time
from pathlib import Path

import pytest
from huggingface_hub import constants

from qlora_ui.errors import Stopped, UserError
from qlora_ui.training import progress
from tests.fake_hub import FakeHub
from tests.training.hub_fixtures import APPROVED, MODEL, WEIGHTS, Reports, hub, model, point_at

__all__ = ["hub"]
WEIGHTS_FILE = "model.safetensors"


def resolved(hub: FakeHub) -> list[str]:
    return [
        asked.path.rpartition("/")[2] for asked in hub.requests if asked.method == "GET" and not asked.cdn
    ]


def test_only_what_a_training_needs_is_fetched(hub: FakeHub) -> None:
    useless = (
        "pytorch_model.bin",
        "modeling_x.py",
        "consolidated.safetensors",
        "README.md",
        "onnx/model.onnx",
    )
    useful = {"generation_config.json", "tokenizer.model", "chat_template.jinja", "special_tokens_map.json"}
    hub.add("model", "org/tiny", MODEL | dict.fromkeys(useless, b"x") | dict.fromkeys(useful, b"{}"))
    folder = model()
    assert {path.name for path in folder.iterdir()} == set(MODEL) | useful
    assert (folder / WEIGHTS_FILE).read_bytes() == WEIGHTS


def test_shards_are_those_of_the_index(hub: FakeHub) -> None:
    shards = {f"model-{n}-of-2.safetensors": WEIGHTS[n:] for n in (1, 2)}
    index = b'{"weight_map": {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}}'
    others = {"config.json": MODEL["config.json"], "other.safetensors": b"x"}
    hub.add("model", "org/tiny", shards | others | {"model.safetensors.index.json": index})
    folder = model()
    assert {path.name for path in folder.glob("*.safetensors")} == set(shards)


def test_progress_is_bytes_of_all_files_with_a_rate(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "INTERVAL", 0.01)
    hub.add("model", "org/tiny", MODEL)
    hub.rate = 3 * len(WEIGHTS)
    reports = Reports()
    model(reports=reports)
    total = sum(map(len, MODEL.values()))
    assert {(phase, whole, unit) for phase, _, whole, unit, _ in reports.heard} == {
        ("downloading", total, "bytes")
    }
    done = [done for _, done, *_ in reports.heard]
    assert done == sorted(done) and done[-1] == total and len(set(done)) > 3
    assert all(rate > 0 for *_, rate in reports.heard[2:])


def test_what_is_there_is_not_fetched_again(hub: FakeHub) -> None:
    hub.add("model", "org/tiny", MODEL)
    first = model()
    hub.requests.clear()
    reports = Reports()
    assert model(reports=reports) == first
    assert resolved(hub) == ["main"]  # the listing, no file
    assert reports.heard == []


def test_a_broken_download_goes_on_where_it_broke(hub: FakeHub) -> None:
    hub.add("model", "org/tiny", MODEL)
    hub.drops = 2
    folder = model()
    half = len(WEIGHTS) // 2
    ranges = [asked.range for asked in hub.asked(WEIGHTS_FILE)]
    assert ranges == [None, f"bytes={half}-", f"bytes={half + half // 2}-"]
    assert (folder / WEIGHTS_FILE).read_bytes() == WEIGHTS


def test_stop_acts_at_once_and_the_next_job_goes_on(hub: FakeHub) -> None:
    hub.add("model", "org/tiny", MODEL)
    hub.rate = len(WEIGHTS) // 8  # eight seconds in all
    before = time.monotonic()
    with pytest.raises(Stopped):
        model(reports=Reports(stop_at=len(WEIGHTS) // 20))
    assert time.monotonic() - before < 3
    hub.rate = 0
    hub.requests.clear()
    reports = Reports()
    folder = model(reports=reports)
    (again,) = hub.asked(WEIGHTS_FILE)
    assert again.range and int(again.range[6:-1]) >= len(WEIGHTS) // 20
    assert reports.heard[0][1] >= len(WEIGHTS) // 20  # it is shown as there from the start
    assert (folder / WEIGHTS_FILE).read_bytes() == WEIGHTS


def test_stop_acts_while_the_server_is_silent(hub: FakeHub) -> None:
    hub.add("model", "org/tiny", MODEL)
    hub.silent = True
    stopped = iter([False, False, True])
    reports = Reports()
    reports.stop = lambda: next(stopped, True)  # type: ignore[method-assign]
    before = time.monotonic()
    with pytest.raises(Stopped):
        model(reports=reports)
    assert time.monotonic() - before < 2


def test_a_server_without_ranges_sends_the_whole_file_again(hub: FakeHub) -> None:
    hub.add("model", "org/tiny", MODEL)
    hub.drops, hub.ranges = 1, False
    assert (model() / WEIGHTS_FILE).read_bytes() == WEIGHTS
    assert len(hub.asked(WEIGHTS_FILE)) == 2


def test_a_mirror_that_tells_no_checksums_is_enough(hub: FakeHub) -> None:
    hub.add("model", "org/tiny", MODEL)
    hub.terse = True
    assert (model() / WEIGHTS_FILE).read_bytes() == WEIGHTS


def test_an_overloaded_hub_is_asked_again(hub: FakeHub) -> None:
    hub.add("model", "org/tiny", MODEL)
    hub.busy_files = 2
    assert (model() / WEIGHTS_FILE).read_bytes() == WEIGHTS


def test_a_download_that_never_ends_is_given_up(hub: FakeHub) -> None:
    hub.add("model", "org/tiny", MODEL | {WEIGHTS_FILE: b"12345678"})
    hub.drops = 100
    with pytest.raises(UserError) as caught:
        model()
    assert caught.value.key == "download_broken"
    assert caught.value.values["file"] == WEIGHTS_FILE
    assert caught.value.values["endpoint"] == hub.endpoint
    hub.drops = 0
    assert (model() / WEIGHTS_FILE).read_bytes() == b"12345678"


def test_damaged_weights_are_thrown_away(hub: FakeHub) -> None:
    hub.add("model", "org/tiny", MODEL)
    hub.damage = True
    with pytest.raises(UserError) as caught:
        model()
    assert caught.value.key == "download_checksum"
    hub.damage = False
    assert (model() / WEIGHTS_FILE).read_bytes() == WEIGHTS


def test_a_disk_too_small_is_said_before_the_download(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("model", "org/tiny", MODEL)
    usage = type("usage", (), {"free": len(WEIGHTS) // 2})
    monkeypatch.setattr(progress.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError) as caught:
        model()
    assert caught.value.key == "disk_space"
    assert not hub.asked(WEIGHTS_FILE)


def test_a_disk_that_fills_up_names_the_cache_folder(hub: FakeHub) -> None:
    repository = hub.add("model", "org/tiny", MODEL)
    blobs = Path(constants.HF_HUB_CACHE) / "models--org--tiny" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{repository.etag(WEIGHTS_FILE)}.part").symlink_to("/dev/full")
    with pytest.raises(UserError) as caught:
        model()
    assert (caught.value.key, caught.value.values) == ("disk_full", {"folder": constants.HF_HUB_CACHE})


def test_a_token_goes_to_the_hub_but_not_to_its_cdn(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("model", "org/tiny", MODEL, gated=True, tokens=frozenset({APPROVED}))
    monkeypatch.setenv("HF_TOKEN", APPROVED)
    assert (model() / WEIGHTS_FILE).read_bytes() == WEIGHTS
    assert {asked.token for asked in hub.requests if asked.path.endswith(".json")} == {APPROVED}
    assert {asked.token for asked in hub.requests if asked.cdn} == {None}


@pytest.mark.parametrize("away", ["offline", "no network"])
def test_a_model_in_the_cache_needs_no_hub(hub: FakeHub, monkeypatch: pytest.MonkeyPatch, away: str) -> None:
    hub.add("model", "org/tiny", MODEL)
    folder = model()
    if away == "offline":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    else:
        point_at(monkeypatch, "http://127.0.0.1:9")
    hub.requests.clear()
    assert model() == folder
    assert not hub.requests


def test_half_a_model_in_the_cache_is_not_taken_for_one(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("model", "org/tiny", MODEL)
    os.remove(model() / WEIGHTS_FILE)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError) as caught:
        model()
    assert caught.value.key == "offline_mode"
