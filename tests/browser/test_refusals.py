"""Bad input: said beside the field in the page's language, nothing started, nothing typed lost."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import App, NewPage

START = {"/": "Start training", "/zh": "开始训练"}
R = {"/": "r, exact number", "/zh": "秩 r，准确数值"}
UPLOAD = {"/": "Choose a file", "/zh": "选择文件"}


def start(page: Page, path: str) -> None:
    page.get_by_role("button", name=START[path], exact=True).click()


def upload(page: Page, path: str, file: Path) -> None:
    page.locator('#dataset\\.source input[value="file"]').check(force=True)
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name=UPLOAD[path]).click()
    chooser.value.set_files(file)


def jobs(app: App) -> list[Path]:
    return list((app.home / "jobs").glob("*/config.json"))


@pytest.mark.parametrize(
    ("path", "typed", "message"),
    [
        ("/", "7.5", "This must be a whole number from 1 to 1024, for example 8."),
        ("/", "eight", "This must be a whole number from 1 to 1024, for example 8."),
        ("/", "", "This must be a whole number from 1 to 1024, for example 8."),
        ("/", "0", "0 is out of bounds: it must be from 1 to 1024, for example 8."),
        ("/zh", "八", "这里要填从 1 到 1024的整数，例如 8。"),
        ("/zh", "5000", "5000 超出范围：应为从 1 到 1024，例如 8。"),
    ],
)
def test_r_is_refused_beside_its_box(
    new_page: NewPage, app: App, path: str, typed: str, message: str
) -> None:
    page = new_page(path)
    box = page.get_by_label(R[path])
    box.fill(typed)
    start(page, path)
    expect(page.locator("#lora\\.r .problem")).to_have_text(message)
    expect(page.get_by_role("alert").filter(has_text="1")).to_be_visible()
    expect(box).to_be_focused()
    expect(box).to_have_value(typed)
    expect(box).to_have_attribute("aria-invalid", "true")
    expect(box).to_have_attribute("aria-describedby", "problem-lora.r")
    assert not jobs(app)
    box.fill("8")
    expect(page.locator(".problem")).to_have_count(0)
    expect(box).not_to_have_attribute("aria-invalid", "true")


@pytest.mark.parametrize("path", ["/", "/zh"])
def test_all_faults_are_said_at_once_and_folded_fields_open(new_page: NewPage, app: App, path: str) -> None:
    page = new_page(path)
    page.locator('#model\\.source input[value="hub"]').check(force=True)
    page.locator("#model\\.hub input").fill("no id at all")
    page.keyboard.press("Tab")
    page.locator('#dataset\\.source input[value="file"]').check(force=True)
    page.locator("[data-fold]").last.click()
    page.locator("#trainer\\.seed input").fill("-1")
    page.locator("[data-fold]").last.click()
    start(page, path)
    expect(page.locator(".problem")).to_have_count(3)
    for field in ("model\\.hub", "trainer\\.seed"):
        expect(page.locator(f"#{field} .problem")).to_be_visible()
    expect(page.locator("#problem-dataset\\.file")).to_be_visible()
    expect(page.locator("#model\\.hub input")).to_be_focused()
    expect(page.locator("#model\\.hub input")).to_have_value("no id at all")
    assert not jobs(app)


@pytest.mark.parametrize(("path", "said"), [("/", "line 2"), ("/zh", "第 2 行")])
def test_a_broken_file_is_refused_with_its_line(
    new_page: NewPage, app: App, tmp_path: Path, path: str, said: str
) -> None:
    broken = tmp_path / "坏 <b>行.jsonl"
    broken.write_text('{"prompt": "a", "completion": "b"}\n{"prompt": "a", \n', "utf-8")
    page = new_page(path)
    upload(page, path, broken)
    expect(page.locator("#data-words")).to_contain_text(said)
    start(page, path)
    expect(page.locator("#problem-dataset\\.file")).to_contain_text(said)
    assert not jobs(app)


def test_a_folder_that_is_not_offered_is_refused(new_page: NewPage, app: App) -> None:
    page = new_page()
    page.locator('#model\\.source input[value="folder"]').check(force=True)
    page.locator("#model\\.folder input").fill("/etc")
    page.keyboard.press("Enter")
    start(page, "/")
    expect(page.locator("#model\\.folder .problem")).to_contain_text(
        "is no model folder that this server offers"
    )
    assert not jobs(app)


def test_a_press_that_mends_a_field_takes_its_message_away(new_page: NewPage) -> None:
    page = new_page()
    box = page.get_by_label(R["/"])
    for press in (
        page.get_by_role("button", name="General task"),
        page.get_by_role("button", name="r 4", exact=True),
    ):
        box.fill("eight")
        start(page, "/")
        expect(page.locator("#lora\\.r .problem")).to_be_visible()
        press.click()
        expect(page.locator(".problem")).to_have_count(0)
        expect(box).not_to_have_attribute("aria-invalid", "true")


@pytest.mark.parametrize("path", ["/", "/zh"])
def test_a_file_of_another_kind_is_refused_here(new_page: NewPage, tmp_path: Path, path: str) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("hello", "utf-8")
    page = new_page(path)
    upload(page, path, other)
    words = {
        "/": "notes.txt is of a kind that cannot be read here.",
        "/zh": "无法读取 notes.txt 这种类型的文件。",
    }
    expect(page.locator("[data-uploading]")).to_contain_text(words[path])


COVERED = """() => [...document.querySelectorAll('.problem')].filter((message) => {
  const own = message.getBoundingClientRect();
  const others = document.querySelectorAll(':is(#view-new) :is(label, h2, button, .problem)');
  return [...others].some((other) => {
    const box = other.getBoundingClientRect();
    if (other === message || other.contains(message) || message.contains(other) || !box.width) return false;
    const beside = box.right <= own.left || own.right <= box.left;
    return !beside && box.top < own.bottom - 1 && own.top < box.bottom - 1;
  });
}).map((message) => message.id)"""


@pytest.mark.parametrize("path", ["/", "/zh"])
@pytest.mark.parametrize("width", [1280, 375])
def test_a_refusal_covers_nothing(new_page: NewPage, path: str, width: int) -> None:
    page = new_page(path)
    page.set_viewport_size({"width": width, "height": 900})
    for field in ("trainer.learning_rate", "trainer.num_train_epochs", "batch.rows_per_step"):
        page.locator(f"[id='{field}'] input").first.fill("-1")
    start(page, path)
    expect(page.locator(".problem")).to_have_count(3)
    assert page.evaluate(COVERED) == []
