"""The list of jobs in a real browser, and how both of its pages look: axe, widths, both languages."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import axe_playwright_python
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import App, NewPage
from tests.browser.workers import Worked
from tests.waiting import until

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text("utf-8")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@pytest.fixture(scope="module")
def jobs(app: App) -> Iterator[dict[str, Worked]]:
    """One that works, one that is done, two that failed."""
    jobs = {does: Worked(app, does) for does in ("finish", "fail", "memory", "wait")}
    yield jobs
    jobs["wait"].end()


def row(page: Page, job: Worked) -> Locator:
    return page.locator("#jobs tbody tr").filter(has=page.locator(f'a[href="?job={job.id}"]'))


def test_an_empty_list_says_what_to_do_first(new_page: NewPage) -> None:
    page = new_page("/?view=jobs")
    expect(page.get_by_text("No job yet. Start your first one")).to_be_visible()
    expect(page.get_by_role("table")).to_be_hidden()
    page.locator("#jobs").get_by_role("link", name="New job", exact=True).click()
    expect(page.get_by_role("button", name="Start training")).to_be_visible()


def test_jobs_are_listed_found_and_opened(new_page: NewPage, jobs: dict[str, Worked]) -> None:
    page = new_page("/?view=jobs")
    expect(row(page, jobs["finish"])).to_contain_text("Finished")
    expect(row(page, jobs["fail"])).to_contain_text("Failed")
    expect(row(page, jobs["wait"])).to_contain_text("Step 1 of 5")
    expect(page.locator("#jobs [role=status]").first).to_have_text("4 jobs · 1 running")
    search = page.get_by_role("searchbox")
    search.fill("FINI")
    expect(page.locator("#jobs tbody tr")).to_have_count(1)
    search.fill("nothing <b>")
    expect(page.get_by_text("No job matches “nothing <b>”.")).to_be_visible()
    search.fill("")
    row(page, jobs["wait"]).get_by_role("link", name="wait").click()
    expect(page.locator("#job-name")).to_have_text("wait")
    page.go_back()
    expect(row(page, jobs["finish"])).to_be_visible()


def test_a_job_is_downloaded_and_deleted_from_the_list(
    new_page: NewPage, app: App, jobs: dict[str, Worked]
) -> None:
    extra = Worked(app, "finish")
    page = new_page("/?view=jobs")
    mine = row(page, extra)
    with page.expect_download() as download:
        mine.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == f"finish-{extra.id}.zip"
    mine.get_by_role("button", name="Delete: finish").press("Enter")
    expect(mine.get_by_role("button", name="Keep it")).to_be_focused()
    page.keyboard.press("Enter")
    expect(mine.get_by_role("button", name="Delete: finish")).to_be_focused()
    page.keyboard.press("Enter")
    mine.get_by_role("button", name="Yes, delete").click()
    expect(mine).to_have_count(0)
    until(lambda: not extra.folder.exists())
    expect(row(page, jobs["finish"])).to_be_visible()


def test_a_job_is_stopped_from_the_list(new_page: NewPage, app: App, jobs: dict[str, Worked]) -> None:
    extra = Worked(app, "wait")
    page = new_page("/?view=jobs")
    mine = row(page, extra)
    mine.get_by_role("button", name="Save and stop").dblclick(delay=100)  # the second press kills nothing
    expect(mine).to_contain_text("Stopped by you")
    (ended,) = extra.folder.glob("exit.1.json")
    assert json.loads(ended.read_bytes())["code"] != -signal.SIGKILL


def places(jobs: dict[str, Worked]) -> list[str]:
    return ["?view=jobs", *(f"?job={job.id}" for job in jobs.values()), "?job=nobody"]


def drawn(page: Page) -> None:
    """Wait until the view is filled, and open what a press opens."""
    ready = (
        "#jobs tbody tr, #job .job-grid:not([aria-busy]) [data-el=state]:not(:empty), .job-gone:not([hidden])"
    )
    page.locator(ready).first.wait_for()
    for summary in page.locator("#job summary:visible").all():
        summary.click()


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("language", ["/", "/zh"])
def test_axe_finds_no_fault(new_page: NewPage, jobs: dict[str, Worked], language: str, mode: str) -> None:
    for place in places(jobs):
        page = new_page(language + place, color_scheme=mode)
        drawn(page)
        page.evaluate(AXE)
        options = {"runOnly": RULES, "resultTypes": ["violations"]}
        found = page.evaluate("options => axe.run(document, options)", options)
        assert not [(one["id"], one["nodes"][0]["html"]) for one in found["violations"]], place


@pytest.mark.parametrize("width", [320, 375, 768])
def test_no_sideways_scroll(new_page: NewPage, jobs: dict[str, Worked], width: int) -> None:
    for place in places(jobs):
        page = new_page("/" + place, viewport={"width": width, "height": 700})
        drawn(page)
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width, place


def test_the_chinese_pages_speak_chinese(new_page: NewPage, jobs: dict[str, Worked]) -> None:
    page = new_page(f"/zh?job={jobs['fail'].id}")
    expect(page.locator("#job section").first).to_contain_text("磁盘已满")
    page = new_page("/zh?view=jobs")
    expect(row(page, jobs["finish"])).to_contain_text("已完成")
    expect(row(page, jobs["wait"])).to_contain_text("第 1 步，共 5 步")
    english = [
        said
        for said in page.locator("#jobs button, #jobs th, #jobs .job-state").all_inner_texts()
        if said.isascii() and said.strip() not in ("", "r · lora_alpha", *jobs)
    ]
    assert not english
