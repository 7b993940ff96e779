"""What a reload, the other language and a new job find again; and what is kept nowhere."""

import json
from pathlib import Path

from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import App, NewPage
from tests.waiting import until

SECRET = "hf_thisIsNoRealTokenAtAll"


def saved(page: Page) -> str:
    found: str = page.evaluate("JSON.stringify(localStorage) + JSON.stringify(sessionStorage)")
    return found


def reload(page: Page) -> None:
    page.reload()
    expect(page.locator("#side .say")).to_be_visible()


def choose(page: Page, file: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose a file").click()
    with page.expect_request("**/gradio_api/upload*"):
        chooser.value.set_files(file)


def test_a_reload_and_the_other_language_keep_the_form(new_page: NewPage) -> None:
    page = new_page()
    page.get_by_label("r, exact number").fill("12")
    page.get_by_label("From the Hub").first.check(force=True)
    page.locator("#model\\.hub input").fill("Qwen/Qwen3-4B-Base")
    page.keyboard.press("Enter")
    page.get_by_label("A number of steps").check(force=True)
    page.get_by_label("Steps", exact=True).fill("77")
    page.locator("#name input").fill("mine")
    page.get_by_label("Keep this strength when r moves").check()
    expect(page.locator("#side")).to_contain_text("for 77 steps")
    reload(page)
    expect(page.get_by_label("r, exact number")).to_have_value("12")
    expect(page.locator("#model\\.hub input")).to_have_value("Qwen/Qwen3-4B-Base")
    expect(page.get_by_label("Steps", exact=True)).to_have_value("77")
    expect(page.locator("#name input")).to_have_value("mine")
    expect(page.get_by_label("Keep this strength when r moves")).to_be_checked()
    page.get_by_role("link", name="中文").click()
    expect(page.get_by_label("秩 r，准确数值")).to_have_value("12")
    expect(page.locator("#side")).to_contain_text("学 77 步")
    page.get_by_role("button", name="恢复为演示").click()
    expect(page.get_by_label("秩 r，准确数值")).to_have_value("8")
    expect(page.locator("#side")).to_contain_text("SmolLM2 135M")


def test_a_kept_strength_still_holds_after_a_reload(new_page: NewPage) -> None:
    page = new_page()
    page.get_by_label("lora_alpha, exact number").fill("32")
    page.get_by_label("Keep this strength when r moves").check()
    reload(page)
    expect(page.get_by_label("lora_alpha, exact number")).to_have_value("32")
    expect(page.get_by_label("Keep this strength when r moves")).to_be_checked()
    page.get_by_label("r, exact number").fill("16")
    expect(page.get_by_label("lora_alpha, exact number")).to_have_value("64")


def test_an_upload_is_found_again_and_trained_on(new_page: NewPage, app: App, tmp_path: Path) -> None:
    rows = tmp_path / "海盗.jsonl"
    rows.write_text('{"prompt": "Hello?", "completion": "Arr!"}\n' * 40, "utf-8")
    page = new_page()
    page.get_by_label("Upload a file").check(force=True)
    choose(page, rows)
    expect(page.locator("#data-words")).to_contain_text("海盗.jsonl")
    expect(page.locator("#data-words")).to_contain_text("40 rows")
    reload(page)
    expect(page.locator("#data-words")).to_contain_text("海盗.jsonl")
    expect(page.locator("#side")).to_contain_text("38")
    page.locator("#name input").fill("finish")
    page.get_by_role("button", name="Start training").click()
    page.wait_for_url("**/?job=*")
    job = page.url.rpartition("=")[2]
    config = json.loads((app.home / "jobs" / job / "config.json").read_text("utf-8"))
    assert config["dataset"]["name"] == "海盗.jsonl"
    assert Path(config["dataset"]["path"]).read_bytes() == rows.read_bytes()


def test_a_long_upload_says_so_until_it_ends(new_page: NewPage, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "one"}\n' * 30, "utf-8")
    page = new_page()
    page.get_by_label("Upload a file").check(force=True)
    held: list[Route] = []
    page.route("**/gradio_api/upload*", lambda route: held.append(route))
    choose(page, rows)
    expect(page.get_by_text("Uploading rows.jsonl …")).to_be_visible()
    held.pop().continue_()
    expect(page.locator("#data-words")).to_contain_text("30 rows")
    expect(page.get_by_text("Uploading")).to_have_count(0)
    choose(page, rows)
    expect(page.get_by_text("Uploading rows.jsonl …")).to_be_visible()
    held.pop().fulfill(status=413, body="too large")
    expect(page.get_by_text("Uploading rows.jsonl …")).to_have_count(0)


def test_a_dropped_file_is_an_upload(new_page: NewPage) -> None:
    page = new_page()
    page.get_by_label("Upload a file").check(force=True)
    page.evaluate(
        """() => {
        const moved = new DataTransfer();
        moved.items.add(new File(['{"text": "one"}\\n'.repeat(30)], "dropped.jsonl"));
        document.querySelector("#card-data")
            .dispatchEvent(new DragEvent("drop", {dataTransfer: moved, bubbles: true, cancelable: true}));
    }"""
    )
    expect(page.locator("#data-words")).to_contain_text("dropped.jsonl")


def test_a_token_reaches_the_worker_and_nothing_else(new_page: NewPage, app: App) -> None:
    page = new_page()
    page.get_by_label("From the Hub").first.check(force=True)
    page.locator("#model\\.hub input").fill("meta-llama/Llama-3.2-1B-Instruct")
    page.keyboard.press("Enter")
    page.get_by_label("Access token").fill(SECRET)
    page.locator("#name input").fill("environment")
    page.get_by_role("button", name="Start training").click()
    page.wait_for_url("**/?job=*")
    folder = app.home / "jobs" / page.url.rpartition("=")[2]
    until(lambda: (folder / "environment").exists(), "the worker wrote down nothing")
    until(lambda: f"HF_TOKEN={SECRET}" in (folder / "environment").read_text("utf-8"))
    assert SECRET not in saved(page)
    reload_text = page.content()
    assert SECRET not in reload_text
    for file in app.home.rglob("*"):
        if file.is_file() and file.name != "environment":
            assert SECRET.encode() not in file.read_bytes(), file
    page.goto(app.address)
    expect(page.get_by_label("Access token")).to_have_value("")
