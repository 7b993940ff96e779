"""What the Hub refuses, and whether a person learns from it what to do."""

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from qlora_ui.errors import UserError
from tests.fake_hub import FakeHub
from tests.training.hub_fixtures import APPROVED, CONFIG, MODEL, PLAIN, hub, model, point_at, rows, sentences

__all__ = ["hub"]
NOBODY = "http://127.0.0.1:9"  # discard: no one listens there
READ = {"train.jsonl": b'{"text": "a"}\n'}


def refused(load: Any, *arguments: Any, **more: Any) -> tuple[str, str]:
    """The error's key and its sentences."""
    with pytest.raises(UserError) as caught:
        load(*arguments, **more)
    return caught.value.key, sentences(caught.value.key, caught.value.values)


@pytest.mark.parametrize("token", [None, PLAIN])
@pytest.mark.parametrize(("load", "kind"), [(model, "model"), (rows, "dataset")])
def test_not_found(hub: FakeHub, monkeypatch: pytest.MonkeyPatch, load: Any, kind: str, token: str) -> None:
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    key, said = refused(load, "org/mispelt")
    assert key == f"{kind}_not_found"
    assert "org/mispelt" in said and hub.endpoint in said


def test_private_is_like_not_found(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("model", "org/tiny", MODEL, tokens=frozenset({APPROVED}))
    assert refused(model)[0] == "model_not_found"
    monkeypatch.setenv("HF_TOKEN", APPROVED)
    assert model().is_dir()


@pytest.mark.parametrize("token", [None, PLAIN])
@pytest.mark.parametrize(("load", "kind"), [(model, "model"), (rows, "dataset")])
def test_gated(hub: FakeHub, monkeypatch: pytest.MonkeyPatch, load: Any, kind: str, token: str) -> None:
    hub.add(kind, "org/closed", MODEL if kind == "model" else READ, gated=True, tokens=frozenset({APPROVED}))
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    key, said = refused(load, "org/closed")
    assert key == f"{kind}_gated"
    assert f"{hub.endpoint}/{'datasets/' if kind == 'dataset' else ''}org/closed" in said


def test_token_refused(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("model", "org/tiny", MODEL)
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    key, said = refused(model)
    assert key == "token_refused"
    assert f"{hub.endpoint}/settings/tokens" in said and "hf_expired" not in said


def test_revision_not_found(hub: FakeHub) -> None:
    hub.add("model", "org/tiny", MODEL)
    key, said = refused(model, revision="v9")
    assert key == "revision_not_found"
    assert "v9" in said and "org/tiny" in said


@pytest.mark.parametrize("load", [model, rows])
def test_no_network(hub: FakeHub, monkeypatch: pytest.MonkeyPatch, load: Any) -> None:
    point_at(monkeypatch, NOBODY)
    key, said = refused(load)
    assert key == "no_network"
    assert NOBODY in said and "HF_ENDPOINT" in said


@pytest.mark.parametrize("load", [model, rows])
def test_offline_mode(hub: FakeHub, monkeypatch: pytest.MonkeyPatch, load: Any) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    key, said = refused(load)
    assert key == "offline_mode"
    assert "HF_HUB_OFFLINE" in said and "HF_HOME" in said and constants.HF_HUB_CACHE in said
    assert not hub.requests


def test_a_firewall_instead_of_the_hub(hub: FakeHub) -> None:
    hub.portal = True
    key, said = refused(model)
    assert key == "not_a_hub"
    assert hub.endpoint in said


def test_an_overloaded_hub(hub: FakeHub) -> None:
    hub.busy = 1
    key, said = refused(model)
    assert key == "hub_refused"
    assert "503" in said


def test_a_cache_that_cannot_be_written(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hub.add("model", "org/tiny", MODEL)
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(in_the_way / "hub"))
    key, said = refused(model)
    assert key == "cache_unwritable"
    assert str(in_the_way) in said and "HF_HOME" in said


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"model_type": "llama", "quantization_config": {"quant_method": "gptq"}}, "already_quantised"),
        ({"model_type": "own", "auto_map": {"AutoConfig": "code.Config"}}, "needs_remote_code"),
        ({"model_type": "from-the-future"}, "unknown_architecture"),
    ],
)
def test_an_unfit_model_is_refused_before_its_weights(hub: FakeHub, config: dict[str, Any], key: str) -> None:
    hub.add("model", "org/tiny", MODEL | {"config.json": json.dumps(config).encode()})
    assert refused(model)[0] == key
    assert not hub.asked("model.safetensors")


def test_code_beside_a_model_that_the_library_knows_is_no_fault(hub: FakeHub) -> None:
    config = {"model_type": "llama", "auto_map": {"AutoConfig": "code.Config"}}
    hub.add("model", "org/tiny", MODEL | {"config.json": json.dumps(config).encode()})
    assert model().is_dir()


def test_no_safetensors(hub: FakeHub) -> None:
    hub.add("model", "org/tiny", {"config.json": CONFIG, "pytorch_model.bin": b"x"})
    assert refused(model)[0] == "no_safetensors"


def test_no_model(hub: FakeHub) -> None:
    hub.add("model", "org/tiny", {"model.gguf": b"x"})
    assert refused(model)[0] == "no_model_config"
