"""Rows of a Hub data set: whatever files they lie in, only those of the split asked for."""

import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from huggingface_hub import constants

from qlora_ui.errors import UserError
from tests.fake_hub import FakeHub
from tests.training.hub_fixtures import Reports, hub, rows

__all__ = ["hub"]
ROWS = [{"instruction": f"question {n}", "output": f"answer {n}"} for n in range(5)]
SUBSETS = b"""---
configs:
- config_name: easy
  data_files:
  - split: train
    path: easy/train-*.parquet
  - split: test
    path: easy/test.parquet
- config_name: hard
  data_files: hard/rows.parquet
---
# Two subsets
"""


def lines(some: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in some).encode()


def parquet(some: list[dict[str, Any]]) -> bytes:
    stream = io.BytesIO()
    pa.parquet.write_table(pa.Table.from_pylist(some), stream)
    return stream.getvalue()


def csv(some: list[dict[str, Any]]) -> bytes:
    return "\n".join(["instruction,output", *(",".join(row.values()) for row in some)]).encode()


@pytest.mark.parametrize(
    "files",
    [
        {"train.jsonl": lines(ROWS)},
        {"data.json": json.dumps(ROWS).encode()},
        {"train.csv": csv(ROWS)},
        {
            "data/train-00000-of-00002.parquet": parquet(ROWS[:2]),
            "data/train-00001-of-00002.parquet": parquet(ROWS[2:]),
        },
    ],
    ids=["jsonl", "json", "csv", "parquet"],
)
def test_every_kind_of_file(hub: FakeHub, files: dict[str, bytes]) -> None:
    hub.add("dataset", "org/rows", files)
    reports = Reports()
    assert rows(reports=reports) == ROWS
    downloads = [heard for heard in reports.heard if heard[0] == "downloading"]
    assert downloads[-1][1:4] == (sum(map(len, files.values())), sum(map(len, files.values())), "bytes")


@pytest.fixture
def subsets(hub: FakeHub) -> FakeHub:
    files = {
        "README.md": SUBSETS,
        "easy/train-1.parquet": parquet(ROWS[:1]),
        "easy/test.parquet": parquet(ROWS[1:2]),
        "hard/rows.parquet": parquet(ROWS[2:]),
    }
    hub.add("dataset", "org/rows", files)
    return hub


def test_subset_and_split_fetch_their_own_files_only(subsets: FakeHub) -> None:
    assert rows(subset="easy") == ROWS[:1]
    assert not subsets.asked("test.parquet") and not subsets.asked("hard/rows.parquet")
    assert rows(subset="easy", split="test") == ROWS[1:2]
    assert rows(subset="hard") == ROWS[2:]


@pytest.mark.parametrize("subset", ["", "harder"])
def test_no_subset_names_those_there_are(subsets: FakeHub, subset: str) -> None:
    with pytest.raises(UserError) as caught:
        rows(subset=subset)
    assert caught.value.key == "no_subset"
    assert caught.value.values["subsets"] == "easy, hard"


def test_no_split_names_those_there_are(subsets: FakeHub) -> None:
    with pytest.raises(UserError) as caught:
        rows(subset="easy", split="validation")
    assert caught.value.key == "no_split"
    assert caught.value.values["splits"] == "train, test"


def test_no_data_files_and_no_code_of_its_own(hub: FakeHub) -> None:
    hub.add("dataset", "org/rows", {"README.md": b"# Rows", "rows.py": b"raise SystemExit"})
    with pytest.raises(UserError) as caught:
        rows()
    assert caught.value.key == "no_data_files"


def test_a_broken_file_is_named(hub: FakeHub) -> None:
    hub.add("dataset", "org/rows", {"train.jsonl": b'{"text": "a"}\n{"text": \n'})
    with pytest.raises(UserError) as caught:
        rows()
    assert caught.value.key == "hub_rows_unreadable"
    assert caught.value.values["id"] == "org/rows"


def test_a_data_set_in_the_cache_needs_no_hub(subsets: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    rows(subset="hard")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert rows(subset="hard") == ROWS[2:]
    with pytest.raises(UserError) as caught:
        rows(subset="easy")
    assert caught.value.key == "offline_mode"
