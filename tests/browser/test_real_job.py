"""The whole thing on real parts: `app.py`, the real worker, real 4-bit training of the demo model."""

import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from qlora_ui.events import Attempt, EventReader, Metrics
from tests.browser.conftest import App, NewPage
from tests.sessions import end_sessions

MINUTES = 60_000  # a real job on two busy cores

LOAD = """
import sys
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
adapter, base = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(adapter)
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
chat = [{"role": "user", "content": "What is the capital of France?"}]
ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
def answer():
    out = model.generate(**ids, max_new_tokens=24, do_sample=False)
    return tokenizer.decode(out[0, ids["input_ids"].shape[1]:], skip_special_tokens=True)
with model.disable_adapter():
    before = answer()
print(before, answer(), sep="\\n---\\n")
"""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    app = App(tmp_path_factory.mktemp("real"), "app.py")
    yield app
    app.stop()
    end_sessions(app.home)


def losses(app: App, job: str) -> dict[int, float]:
    """The curve: a later attempt takes back the points of steps that it does again."""
    curve: dict[int, float] = {}
    for event in EventReader(app.home / "jobs" / job / "events.jsonl").read():
        if isinstance(event, Attempt):
            curve = {step: loss for step, loss in curve.items() if step <= event.from_step}
        elif isinstance(event, Metrics) and "loss" in event.values:
            assert event.step not in curve, f"step {event.step} twice"
            curve[event.step] = event.values["loss"]
    return curve


def attempts(app: App, job: str) -> list[Attempt]:
    events = EventReader(app.home / "jobs" / job / "events.jsonl").read()
    return [event for event in events if isinstance(event, Attempt)]


def start_demo(page: Page, epochs: str) -> str:
    page.get_by_role("button", name="General task").click()
    page.get_by_label("Passes (epochs)").fill(epochs)
    page.get_by_role("button", name="Start training").click()
    page.wait_for_url(re.compile(r"\?job=[a-z0-9]+$"))
    return page.url.rpartition("=")[2]


def step_shown(page: Page) -> int:
    found = re.search(r"[Ss]tep (\d+) of", page.locator("#view-job").inner_text())
    return int(found[1]) if found else 0


def test_a_job_from_the_page_to_the_adapter(app: App, new_page: NewPage, tmp_path: Path) -> None:
    page = new_page()
    job = start_demo(page, epochs="1")
    view = page.locator("#view-job")
    page.wait_for_function(
        "/[Ss]tep [2-9] of/.test(document.querySelector('#view-job').innerText)", timeout=5 * MINUTES
    )
    before = step_shown(page)

    page.reload()
    expect(view).to_contain_text(re.compile(r"[Ss]tep \d+ of"), timeout=MINUTES)
    assert step_shown(page) >= before

    app.restart()
    page.reload()
    expect(view).to_contain_text("Finished", timeout=5 * MINUTES)
    curve = losses(app, job)
    assert list(curve) == list(range(1, len(curve) + 1)), "a gap in the curve"
    assert len(curve) > before, "it went on without the page"
    assert len(attempts(app, job)) == 1, "it was started once"
    fell = re.search(r"Fell from ([\d.]+) to ([\d.]+)", view.inner_text())
    assert fell and float(fell[2]) < 0.8 * float(fell[1])

    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        archive.extractall(tmp_path)
    (adapter,) = (path.parent for path in tmp_path.rglob("adapter_config.json"))
    assert json.loads((adapter / "config.json").read_text())["lora"]["r"] == 8
    base = app.home / "models" / "SmolLM2-135M-Instruct"
    loaded = subprocess.run(
        [sys.executable, "-c", LOAD, adapter, base], capture_output=True, text=True, timeout=300
    )
    assert loaded.returncode == 0, loaded.stderr
    untrained, trained = loaded.stdout.split("---")
    assert trained.strip() and trained.strip() != untrained.strip()


def test_stop_keeps_what_was_learnt_and_resume_goes_on(app: App, new_page: NewPage) -> None:
    page = new_page()
    job = start_demo(page, epochs="20")
    view = page.locator("#view-job")
    page.wait_for_function(
        "/[Ss]tep [1-9]\\d* of/.test(document.querySelector('#view-job').innerText)", timeout=5 * MINUTES
    )
    page.get_by_role("button", name="Save and stop").click()
    expect(view).to_contain_text("Stopped", timeout=MINUTES)
    expect(page.get_by_role("link", name="Download")).to_be_visible()
    assert (app.home / "jobs" / job / "adapter" / "adapter_model.safetensors").stat().st_size > 1_000_000
    done = max(losses(app, job))
    expect(view).to_contain_text(re.compile(rf"Last saved: step {done}\b"))

    page.get_by_role("button", name="Resume").click()
    page.wait_for_function(
        f"+/[Ss]tep (\\d+) of/.exec(document.querySelector('#view-job').innerText)?.[1] > {done}",
        timeout=5 * MINUTES,
    )
    page.get_by_role("button", name="Save and stop").click()
    expect(view).to_contain_text("Stopped", timeout=MINUTES)
    assert [attempt.from_step for attempt in attempts(app, job)] == [0, done]
    curve = losses(app, job)
    assert list(curve) == list(range(1, max(curve) + 1)) and max(curve) > done, "one stitched curve"
