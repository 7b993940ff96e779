"""A fake Hub that this very process uses: huggingface_hub reads its environment once, at import."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import close_session

from qlora_ui.config import Dataset, Model
from qlora_ui.texts import LANGUAGES, error_text
from qlora_ui.training import hub_files
from qlora_ui.training.hub_data import hub_rows
from qlora_ui.training.hub_model import hub_model
from tests.fake_hub import FakeHub

APPROVED, PLAIN = "hf_approved", "hf_plain"
CONFIG = json.dumps({"model_type": "llama"}).encode()
WEIGHTS = bytes(range(256)) * 4096  # 1 MB
MODEL = {"config.json": CONFIG, "model.safetensors": WEIGHTS, "tokenizer.json": b"{}"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    with FakeHub(frozenset({APPROVED, PLAIN})) as hub:
        point_at(monkeypatch, hub.endpoint)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr(hub_files, "PAUSE", 0.001)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield hub
        close_session()


def point_at(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


class Reports:
    """Hears what the page would; asks to stop as soon as `stop_at` bytes are there."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.heard: list[tuple[str, int, int, str, float]] = []
        self._stop_at = stop_at

    def report(self, phase: str, done: int, total: int, unit: str, rate: float) -> None:
        self.heard.append((phase, done, total, unit, rate))

    def stop(self) -> bool:
        return self._stop_at is not None and any(done >= self._stop_at for _, done, *_ in self.heard)


def model(id: str = "org/tiny", reports: Reports | None = None, **more: Any) -> Path:
    reports = reports or Reports()
    chosen = Model(source="hub", name_or_path=id, **more)
    return hub_model(chosen, reports.report, reports.stop)


def rows(id: str = "org/rows", reports: Reports | None = None, **more: Any) -> list[dict[str, Any]]:
    reports = reports or Reports()
    found = list(hub_rows(Dataset(source="hub", path=id, **more), reports.report, reports.stop))
    assert [row.number for row in found] == list(range(1, len(found) + 1))
    return [row.value for row in found]


def sentences(key: str, values: dict[str, Any]) -> str:
    """Both sentences in both languages: raises KeyError where one or a value is missing."""
    return "\n".join(" ".join(error_text(language, key, values)) for language in LANGUAGES)
