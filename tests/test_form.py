"""The form without a browser: what is on it, and what its handlers answer to plain values."""

import asyncio
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from pydantic import BaseModel

from qlora_ui import checks
from qlora_ui.config import Dataset, Keep, Lora, Model, TrainConfig, Trainer
from qlora_ui.hardware import Gpu, Memory
from qlora_ui.jobs import Job, JobState, JobStore
from qlora_ui.presets import demo_config
from qlora_ui.scheduler import Scheduler
from qlora_ui.settings import from_env
from qlora_ui.ui import form
from qlora_ui.ui.collect import ATTENTION, collect
from qlora_ui.ui.context import Context
from qlora_ui.ui.wiring import Wiring
from tests.fake_launcher import FakeLauncher
from tests.served import make_adapter

GB = 10**9
FILLED = {
    "model.hub",
    "model.folder",
    "dataset.file",
    "dataset.hub",
    "lora.modules",
    "lock",
    "length",
    "preset",
}


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    settings = replace(from_env({}), home=tmp_path, model_dirs=(tmp_path / "offered",))
    store = JobStore(tmp_path)
    scheduler = Scheduler(store, FakeLauncher(), devices=lambda: [""])
    yield Context(settings, store, scheduler, memory=lambda: Memory(16 * GB, 9 * GB))
    store.close()


@cache
def drawn(language: str) -> form.Form:
    """A form, drawn once, inside a loop: without one Gradio makes a loop a page and never closes it. In a
    thread: in this one the browser tests' Playwright may have a loop running."""

    async def draw() -> form.Form:
        with gr.Blocks(analytics_enabled=False):
            return form.layout(language, from_env({}))

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, draw()).result()


def wiring(context: Context, language: str = "en") -> Wiring:
    return Wiring(drawn(language), context)


def raw(wired: Wiring, upload: Any = None, **values: Any) -> list[Any]:
    """What the components hold, untouched but for `values` (`lora__r` is `lora.r`)."""
    changed = {name.replace("__", "."): value for name, value in values.items()}
    assert set(changed) <= set(wired.paths)
    return [*({**wired.form.fields.defaults, **changed}[path] for path in wired.paths), upload]


def said(answers: list[Any]) -> str:
    return re.sub(r"<[^>]+>", "", " ".join(map(str, answers)))


def every_field(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, declared in model.model_fields.items():
        if isinstance(declared.annotation, type) and issubclass(declared.annotation, BaseModel):
            yield from every_field(declared.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name


def test_every_setting_is_on_the_form_or_a_reason_says_why_not(context: Context) -> None:
    shown = set(wiring(context).paths) - FILLED
    assert shown | set(form.NOT_ON_FORM) == set(every_field(TrainConfig))
    assert not shown & set(form.NOT_ON_FORM)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_untouched_form_is_the_demo_job(context: Context, language: str) -> None:
    wired = wiring(context, language)
    assert collect(wired.values(*raw(wired))) == demo_config()


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize(
    "values",
    [
        {},
        {"lora__r": 1, "lora__lora_alpha": 32},
        {"lora__r": 512, "lora__lora_alpha": 1, "lora__use_rslora": True},
        {"lora__r": "x", "batch__rows_per_step": None},
        {"model__source": "hub", "model__hub": "Qwen/Qwen3-4B"},
        {"dataset__source": "hub", "dataset__hub": "tatsu-lab/alpaca", "length": "steps"},
        {"dataset__source": "file"},
        {"trainer__num_train_epochs": 0.5},
    ],
)
def test_words_are_whole_sentences(context: Context, language: str, values: dict[str, Any]) -> None:
    wired = wiring(context, language)
    answers = wired.words(*raw(wired, **values))
    assert all(isinstance(answer, str) for answer in answers)
    assert all(answers[1:-1])
    assert not answers[-1], "no parent, no words of one"
    assert not re.search(r"[{}\[\]|*]", said(answers))


def test_words_answer_within_50_ms(context: Context) -> None:
    wired = wiring(context)
    wired.words(*raw(wired))  # reads the data once
    began = time.perf_counter()
    for r in range(1, 21):
        wired.words(*raw(wired, lora__r=r))
    assert (time.perf_counter() - began) / 20 < 0.05


def test_numbers_follow_r_and_modules(context: Context) -> None:
    wired = wiring(context)
    assert "2.44 million numbers to train" in said(wired.words(*raw(wired)))
    assert "4.88 million" in said(wired.words(*raw(wired, lora__r=16)))
    assert "921,600 numbers" in said(wired.words(*raw(wired, lora__modules="attention")))


def test_what_a_person_typed_is_never_html(context: Context) -> None:
    wired = wiring(context)
    evil = "<img src=x onerror=alert(1)>"
    answers = wired.words(*raw(wired, model__source="hub", model__hub=evil))
    kept = context.settings.home / "data" / f"{'a' * 64}.jsonl"
    kept.parent.mkdir()
    kept.write_text('{"text": "one"}\n' * 3, "utf-8")
    upload = {"key": kept.name, "name": f"{evil}.jsonl"}
    answers += wired.words(*raw(wired, upload, dataset__source="file"))
    text = " ".join(map(str, answers))
    assert "<img" not in text and "&lt;img" in text


@pytest.mark.parametrize("key", ["../../../etc/passwd", "/etc/passwd", "", "a" * 64, "x.jsonl"])
def test_only_kept_uploads_are_taken_from_a_browser(context: Context, key: str) -> None:
    wired = wiring(context)
    upload = {"key": key, "name": "rows.jsonl"}
    (outcome, token) = wired.start(*raw(wired, upload, dataset__source="file"), "")
    assert [one["field"] for one in outcome["problems"]] == ["dataset.file"]
    assert not context.store.all()


def test_start_queues_the_job_and_forgets_the_token(context: Context) -> None:
    wired = wiring(context)
    from_hub = {"model__source": "hub", "model__hub": "owner/name"}
    outcome, token = wired.start(*raw(wired, name="  Pirate  ", lora__r=4, **from_hub), "hf_abc")
    job = context.store.get(outcome["job"])
    assert job is not None
    assert (job.name, job.config.lora.r, job.needs_token, token) == ("Pirate", 4, True, "")


def test_a_full_disk_is_said_and_nothing_is_lost(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(context.scheduler, "submit", full)
    wired = wiring(context)
    outcome, _ = wired.start(*raw(wired), "hf_abc")
    assert "the disk is full" in outcome["sentence"]
    assert not outcome["problems"]


def test_a_busy_gpu_is_said_before_start(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    busy = Gpu(0, "NVIDIA L4", 24 * GB, 3 * GB, 20 * GB)
    free = Gpu(1, "NVIDIA L4", 24 * GB, 23 * GB, 0)
    wired = wiring(context)
    monkeypatch.setattr(context.scheduler, "gpus", lambda: [busy])
    assert "another program holds 20.0 GB" in said(wired.words(*raw(wired)))
    monkeypatch.setattr(context.scheduler, "gpus", lambda: [busy, free])
    assert "another program" not in said(wired.words(*raw(wired)))
    assert "23.0 GB of 24.0 GB" in said(wired.words(*raw(wired)))


def ended(context: Context, config: TrainConfig, adapter: bool = True) -> Job:
    """A finished job."""
    job = context.store.create(config)
    context.store.move(job.id, JobState.FINISHED, [JobState.QUEUED])
    if adapter:
        make_adapter(context.store.folder(job.id))
    return job


def copied(wired: Wiring, way: str, job: str) -> dict[str, Any]:
    """The form after a job was asked for; "upload" and "words" beside the fields."""
    return dict(zip([*wired.paths, "upload", "words"], wired.copy(way, job), strict=True))


CONFIGS = [
    TrainConfig(),
    TrainConfig(
        name="mine",
        model=Model(source="hub", name_or_path="owner/name", revision="v2"),
        dataset=Dataset(source="hub", path="owner/rows", subset="en", split="test", eval_share=0.125),
        lora=Lora(r=3, lora_alpha=7, target_modules=["q_proj"], use_rslora=True),
        trainer=Trainer(max_steps=77, activation_checkpointing=False, warmup_steps=5),
        keep=Keep(checkpoint_minutes=2.5, early_stopping_patience=0, smaller_micro_batch=False),
    ),
    TrainConfig(lora=Lora(target_modules=ATTENTION), trainer=Trainer(activation_checkpointing=True)),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_a_job_fills_the_form_as_it_was(context: Context, config: TrainConfig) -> None:
    wired = wiring(context)
    filled = copied(wired, "from", ended(context, config).id)
    values = wired.values(*(filled[path] for path in wired.paths), filled["upload"])
    assert collect(values) == config.model_copy(update={"name": ""})  # a name of its own
    assert not filled["words"]


def test_a_job_from_an_upload_brings_the_file_back(context: Context, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "one"}\n' * 30, "utf-8")
    for path in (context.store.keep_upload(rows, "rows.jsonl"), rows):  # of the page, of the command line
        config = TrainConfig(dataset=Dataset(source="file", path=str(path), name="海盗.jsonl"))
        wired = wiring(context)
        filled = copied(wired, "from", ended(context, config).id)
        values = wired.values(*(filled[path] for path in wired.paths), filled["upload"])
        assert Path(values["dataset.file"]["path"]).read_bytes() == rows.read_bytes()
        assert values["dataset.file"]["name"] == "海盗.jsonl"
    rows.unlink()
    assert copied(wired, "from", ended(context, config).id)["upload"] is None


def test_training_further_fixes_what_the_adapter_needs(context: Context) -> None:
    parent = ended(context, TrainConfig(name="<b>one</b>", lora=Lora(r=4, lora_alpha=32)))
    wired = wiring(context)
    filled = copied(wired, "further", parent.id)
    assert filled["parent"] == parent.id
    assert "&lt;b&gt;one&lt;/b&gt;" in filled["words"]
    changed = {"parent": parent.id, "lora__r": 64, "model__source": "hub", "trainer__num_train_epochs": 1}
    outcome, _ = wired.start(*raw(wired, **changed), "")
    job = context.store.get(outcome["job"])
    assert job is not None
    assert (job.config.lora, job.config.model) == (parent.config.lora, parent.config.model)
    assert (job.config.parent, job.config.trainer.num_train_epochs) == (parent.id, 1)


@pytest.mark.parametrize("asked", ["nobody", "0123456789", ["x"], None])
def test_a_parent_without_adapter_is_refused(context: Context, asked: Any) -> None:
    wired = wiring(context)
    bare = ended(context, TrainConfig(), adapter=False)
    assert "no adapter" in copied(wired, "further", bare.id)["words"]
    assert "no such job" in copied(wired, "from", "nobody")["words"]
    outcome, _ = wired.start(*raw(wired, parent=bare.id), "")
    assert [problem["field"] for problem in outcome["problems"]] == ["parent"]
    assert "data-no-parent" in wired.words(*raw(wired, parent=bare.id))[-1], "the way out"
    if asked:
        refused, _ = wired.start(*raw(wired, parent=asked), "")
        assert [problem["field"] for problem in refused["problems"]] == ["parent"]


def test_a_disk_without_room_blocks_start_and_says_so(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "free_disk", lambda _: 1_000_000)
    wired = wiring(context)
    assert "not enough room" in said(wired.words(*raw(wired)))
    outcome, token = wired.start(*raw(wired), "hf_abc")
    assert "not enough room" in outcome["sentence"] and "1.0 MB is free" in outcome["sentence"]
    assert not context.store.all()
    assert token == gr.skip()


def test_an_old_or_foreign_storage_restores_what_it_can(context: Context) -> None:
    wired = wiring(context)
    restored = dict(zip(wired.paths, wired.restore({"lora.r": 64, "gone": 1}), strict=True))
    assert restored["lora.r"] == 64
    assert restored["lora.lora_alpha"] == gr.skip()
    assert wired.restore(None) == [gr.skip()] * len(wired.paths)


def test_a_token_is_taken_only_where_the_hub_is_asked_and_only_if_it_can_be_one(context: Context) -> None:
    wired = wiring(context)
    outcome, _ = wired.start(*raw(wired), "hf_abc")
    job = context.store.get(outcome["job"])
    assert job is not None and not job.needs_token, "the demo needs none"
    refused, _ = wired.start(*raw(wired, model__source="hub", model__hub="owner/name"), "my token")
    assert [problem["field"] for problem in refused["problems"]] == ["model.token"]
