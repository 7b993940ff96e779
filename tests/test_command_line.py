"""`python -m qlora_ui init|train|jobs` where it starts no worker."""

import json
from pathlib import Path
from typing import Any

import pytest

from qlora_ui import owner
from qlora_ui.__main__ import main
from qlora_ui.config import TrainConfig
from qlora_ui.folders import write_folder
from qlora_ui.presets import PRESETS, demo_config
from qlora_ui.texts import catalog


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "en_US.UTF-8")


def config(capsys: pytest.CaptureFixture[str], *arguments: str) -> TrainConfig:
    assert main(["init", *arguments]) == 0
    return TrainConfig.model_validate_json(capsys.readouterr().out)


@pytest.mark.parametrize("preset", PRESETS)
def test_init_prints_the_demo_with_a_preset(capsys: pytest.CaptureFixture[str], preset: str) -> None:
    found = config(capsys, "--preset", preset)
    assert found.lora == PRESETS[preset].lora
    assert found == demo_config().model_copy(update={"lora": found.lora})


def test_init_with_model_and_data(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert config(capsys).dataset.source == "demo"
    hub = config(capsys, "--model", "Qwen/Qwen3-0.6B", "--data", "tatsu-lab/alpaca")
    assert (hub.model.source, hub.model.name_or_path) == ("hub", "Qwen/Qwen3-0.6B")
    assert (hub.dataset.source, hub.dataset.path) == ("hub", "tatsu-lab/alpaca")
    (tmp_path / "model").mkdir()
    (tmp_path / "rows.jsonl").write_text('{"text": "a"}\n')
    monkeypatch.chdir(tmp_path)
    local = config(capsys, "--model", "model", "--data", "rows.jsonl")
    assert (local.model.source, local.model.name_or_path) == ("folder", str(tmp_path / "model"))
    assert (local.dataset.path, local.dataset.name) == (str(tmp_path / "rows.jsonl"), "rows.jsonl")


def exits(arguments: list[str]) -> Any:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    return end.value.code


@pytest.mark.parametrize("option", ["--model", "--data"])
@pytest.mark.parametrize("path", ["./none", "/none", "a/b/c"])
def test_init_with_a_path_that_is_not_there(option: str, path: str) -> None:
    assert f"no file or folder {path}" in exits(["init", option, path])


BAD = {
    "version": 3,
    "lora": {"rank": 4, "r": 0, "target_modules": ["q_proj", 1]},
    "trainer": {"learning_rate": 5, "seed": "x", "lr_scheduler_type": "fast", "max_steps": 0},
    "model": {"source": "hub", "name_or_path": "a b"},
    "dataset": {"source": "file", "path": "rows.csv", "eval_share": 0.1},
    "quantization": 3,
}  # fmt: skip
SAID = {
    "version": "2.",
    "lora.rank": "r, lora_alpha",
    "lora.r": "from 1 to 1024",
    "lora.target_modules": '["q_proj", "v_proj"]',
    "trainer.learning_rate": "at most 1",
    "trainer.seed": "whole number from 0",
    "trainer.lr_scheduler_type": '"cosine"',
    "model.name_or_path": "owner/name",
    "dataset.path": "beginning with /",
    "quantization": "braces",
}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_each_problem_of_a_config_is_said(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, language: str
) -> None:
    monkeypatch.setenv("LC_ALL", {"en": "C.UTF-8", "zh": "zh_CN.UTF-8"}[language])
    (tmp_path / "bad.json").write_text(json.dumps(BAD))
    assert main(["train", str(tmp_path / "bad.json"), "--home", str(tmp_path / "home")]) == 1
    said = dict(line.split(": ", 1) for line in capsys.readouterr().err.splitlines())
    assert set(said) == set(SAID)
    if language == "en":
        assert not [field for field, words in SAID.items() if words not in said[field]]
    else:
        assert all(any("\u4e00" <= letter <= "\u9fff" for letter in line) for line in said.values())
    assert not (tmp_path / "home").exists(), "nothing was started"


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "could not be read"), (b'{\n"a": ', "line 2, column 6"), (b"\xff\xfe{", "not JSON")],
)
def test_a_file_that_is_no_config(tmp_path: Path, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / "c.json").write_bytes(content)
    assert words in exits(["train", str(tmp_path / "c.json")])


def test_a_home_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    (tmp_path / "c.json").write_text(demo_config().model_dump_json())
    assert "cannot be written to" in exits(
        ["train", str(tmp_path / "c.json"), "--home", str(tmp_path / "home")]
    )


def test_what_cannot_be_resumed(tmp_path: Path) -> None:
    home = ["--home", str(tmp_path)]
    assert "no job abc" in exits(["train", "--resume", "abc", *home])
    folder = tmp_path / "jobs" / "abc"
    write_folder(folder, TrainConfig())
    assert "no job ../jobs/abc" in exits(["train", "--resume", "../jobs/abc", *home])
    owner.claim(folder, 1)
    assert "abc is running" in exits(["train", "--resume", "abc", *home]), "this very process"
    (folder / "exit.1.json").write_text('{"code": 0}')
    assert "is finished" in exits(["train", "--resume", "abc", *home])
    assert exits(["train", *home]) == exits(["train", "c.json", "--resume", "abc"]) == 2, "one of both"


def test_jobs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    main(["jobs", "--home", str(tmp_path)])
    assert "No job" in capsys.readouterr().out
    codes = {"done": 0, "stopped": 130, "gone": None, "unborn": None, "killed": -9}
    for name, code in codes.items():
        folder = tmp_path / "jobs" / name
        write_folder(folder, TrainConfig(name=f"{name} job"))
        if name != "unborn":
            owner.claim(folder, 1)
            record = json.loads((folder / "owner").read_text())
            (folder / "owner").write_text(json.dumps({**record, "boot": "another"}))
        if code is not None:
            (folder / "exit.1.json").write_text(json.dumps({"attempt": 1, "code": code}))
    main(["jobs", "--home", str(tmp_path)])
    english = catalog("en")
    states = {
        "done": english["state.finished"],
        "stopped": english["state.stopped.user"],
        "gone": english["state.stopped.interrupted"],
        "unborn": english["cli.not_started"],
        "killed": english["state.failed"],
    }
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert set(lines) == set(codes)
    assert not [name for name, state in states.items() if not lines[name].endswith(f"{state}  {name} job")]
    assert not (tmp_path / "jobs.db").exists(), "read only"
