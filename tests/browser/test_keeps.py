"""No job is ever lost, as a person sees it: stop, see what is kept, resume, one stitched curve; pause; the
way out of an out of memory; the queue; what is deleted; a job made from another."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import App, NewPage
from tests.browser.keeper import REACHED, STEPS, WRITTEN
from tests.browser.workers import Worked
from tests.waiting import until


@pytest.fixture
def job(app: App) -> Iterator[Worked]:
    job = Worked(app, "keep")
    yield job
    job.end()


def head(page: Page) -> Locator:
    return page.locator("#job section").first


def press(page: Page, name: str) -> None:
    page.locator("#job").get_by_role("button", name=name, exact=True).click()


def steps(page: Page) -> list[int]:
    """Of the curve as the page draws it."""
    return [int(x) for x in page.evaluate("Bokeh.documents[0].roots()[0].renderers[0].data_source.data.x")]


def rows(page: Page) -> Locator:
    return page.locator("#jobs tbody tr")


def test_stop_see_what_is_kept_resume_one_curve(new_page: NewPage, job: Worked) -> None:
    page = new_page(f"/?job={job.id}")
    expect(head(page)).to_contain_text(f"Step {REACHED} of {STEPS}")
    expect(head(page)).to_contain_text(re.compile(rf"Last saved: step {WRITTEN}, (just now|\d+ s ago)"))
    until(lambda: page.evaluate("window.Bokeh?.documents?.length > 0"))
    press(page, "Save and stop")
    expect(head(page)).to_contain_text("Stopped by you")
    expect(head(page)).to_contain_text(f"Last saved: step {REACHED}")
    expect(head(page)).to_contain_text("Adapter of step 6, the best of 4 measurements")
    press(page, "Resume")
    expect(head(page)).to_contain_text(f"Step {REACHED + 2} of {STEPS}")
    expect(page.get_by_role("log")).to_contain_text(f"Start 2: goes on after step {REACHED}")
    assert steps(page) == list(range(1, REACHED + 3))
    (job.folder / "go").touch()
    expect(head(page)).to_contain_text("Finished")
    assert steps(page) == list(range(1, STEPS + 1))
    expect(page).to_have_title("Finished · keep · QLoRA UI")
    page.reload()
    expect(head(page)).to_contain_text("Finished")
    until(lambda: page.evaluate("window.Bokeh?.documents?.length > 0"))
    until(lambda: steps(page) == list(range(1, STEPS + 1)))


def test_what_a_kill_takes_is_done_again_on_the_same_curve(new_page: NewPage, job: Worked) -> None:
    page = new_page(f"/?job={job.id}")
    expect(head(page)).to_contain_text(f"Step {REACHED} of {STEPS}")
    until(lambda: page.evaluate("window.Bokeh?.documents?.length > 0"))
    job.kill()
    expect(head(page)).to_contain_text("was killed")
    expect(head(page)).to_contain_text(f"Last saved: step {WRITTEN}")
    press(page, "Resume")
    expect(page.get_by_role("log")).to_contain_text(f"Start 2: goes on after step {WRITTEN}")
    expect(head(page)).to_contain_text(f"Step {WRITTEN + 2} of {STEPS}")
    assert steps(page) == list(range(1, WRITTEN + 3))


def test_pause_gives_way_and_comes_back_first(new_page: NewPage, app: App, job: Worked) -> None:
    page = new_page(f"/?job={job.id}")
    expect(head(page)).to_contain_text(f"Step {REACHED} of {STEPS}")
    press(page, "Pause")
    expect(head(page)).to_contain_text("goes on when you press Resume")
    expect(page.locator("#job .job-state")).to_have_text("Paused")
    expect(head(page)).to_contain_text(f"Step {REACHED} of {STEPS}")
    page.get_by_role("link", name="Jobs").click()
    expect(rows(page).filter(has=page.locator(f'a[href="?job={job.id}"]'))).to_contain_text("Paused")
    page.go_back()
    press(page, "Resume")
    expect(page.locator("#job .job-state")).to_have_text("Training")


def test_an_out_of_memory_is_a_plan_one_press_away(new_page: NewPage, app: App) -> None:
    job = Worked(app, "memory")
    page = new_page(f"/?job={job.id}")
    expect(head(page)).to_contain_text("while training · asked for 2.0 GB · 1.0 GB were free")
    changes = page.locator("#job .job-plan li")
    expect(changes).to_have_count(3)
    expect(changes.nth(0)).to_contain_text("goes on from step 3, as if nothing had happened")
    expect(changes.nth(1)).to_contain_text("Shorter rows: at most 512 tokens instead of 1024")
    expect(changes.nth(1)).to_contain_text("begins that epoch again")
    expect(changes.nth(2)).to_contain_text("starts anew")
    changes.nth(1).get_by_role("button").click()
    expect(head(page)).to_contain_text("Ran out of memory; goes on with shorter rows")
    expect(page.get_by_role("log")).to_contain_text("Start 2: goes on after step 3")
    press(page, "Save and stop")
    expect(head(page)).to_contain_text("Stopped by you")


def test_the_queue_is_ordered_and_paused(new_page: NewPage, app: App, job: Worked) -> None:
    page = new_page()
    names = ("one", "two", "three")
    for name in names:
        page.goto(app.address)
        expect(page.locator("#side .say")).to_be_visible()  # the form is as it was left
        page.locator("#name input").fill(name)
        page.get_by_role("button", name="Start training").click()
        page.wait_for_url("**/?job=*")
    expect(head(page)).to_contain_text("Place 3 in the queue")
    page.get_by_role("link", name="Jobs").click()
    waiting = rows(page).filter(has_text="Waiting")
    expect(waiting.locator(".col-name")).to_have_text(list(names))
    up = page.get_by_role("button", name="Up: three")
    up.press("Enter")
    expect(waiting.locator(".col-name")).to_have_text(["one", "three", "two"])
    expect(up).to_be_focused()
    page.keyboard.press("Enter")
    expect(waiting.locator(".col-name")).to_have_text(["three", "one", "two"])
    expect(page.get_by_role("button", name="Down: three")).to_be_focused()
    page.get_by_role("button", name="Pause the queue").click()
    expect(page.get_by_text("The queue is paused: what runs goes on")).to_be_visible()
    for name in names:
        page.get_by_role("button", name=f"Take out of the queue: {name}").click()
    expect(waiting).to_have_count(0)
    page.get_by_role("button", name="Continue", exact=True).click()
    expect(page.get_by_role("button", name="Pause the queue")).to_be_visible()


def test_checkpoints_are_deleted_after_a_question(new_page: NewPage, app: App) -> None:
    job = Worked(app, "memory")
    page = new_page("/?view=jobs")
    mine = rows(page).filter(has=page.locator(f'a[href="?job={job.id}"]'))
    mine.get_by_role("button", name="Delete checkpoints: memory").click()
    expect(mine).to_contain_text("Delete its checkpoints (400 kB)?")
    mine.get_by_role("button", name="Yes, delete").click()
    expect(mine.get_by_role("button", name="Start again")).to_be_visible()
    until(lambda: not (job.folder / "checkpoints").exists())


def test_a_job_is_made_from_another_and_goes_on_from_its_adapter(new_page: NewPage, app: App) -> None:
    parent = Worked(app, "finish")
    page = new_page(f"/?job={parent.id}")
    page.get_by_role("link", name="New job from this one").click()
    expect(page.get_by_label("Longest row, in tokens")).to_have_value("1024")
    expect(page.locator("#name input")).to_have_value("")  # not a second job of the same name
    assert page.url == f"{app.address}/"
    page.go_back()
    page.goto(f"{app.address}/?job={parent.id}")
    page.get_by_role("link", name="Train further").click()
    expect(page.locator("#parent-words")).to_contain_text("Goes on from the adapter of finish")
    expect(page.locator("#lora\\.r")).to_have_attribute("inert", "")
    page.reload()
    expect(page.locator("#parent-words")).to_contain_text("Goes on from the adapter of finish")
    page.locator("#name input").fill("finish")  # what its worker does
    page.get_by_role("button", name="Start training").click()
    page.wait_for_url("**/?job=*")
    chain = page.locator("#job .job-chain")
    expect(chain).to_contain_text("Goes on from finish")
    chain.get_by_role("link", name="finish").click()
    expect(chain).to_contain_text("Went on in finish")
    page.goto(f"{app.address}/?further={parent.id}")
    page.get_by_role("button", name="Start without it").click()
    expect(page.locator("#lora\\.r")).not_to_have_attribute("inert", "")
    expect(page.locator("#parent-words p")).to_have_count(0)


def test_title_and_icon_follow_and_the_end_is_told_to_who_asked(new_page: NewPage, job: Worked) -> None:
    page = new_page(f"/?job={job.id}")
    page.evaluate(
        """() => {
        window.told = [];
        window.Notification = class {
            static permission = "default";
            static requestPermission = async () => (window.Notification.permission = "granted");
            constructor(title, { body }) { window.told.push(`${title}: ${body}`); }
        };
    }"""
    )
    expect(page).to_have_title("40 % · keep · QLoRA UI")
    icon = page.locator('link[rel="icon"]')
    expect(icon).to_have_attribute("href", re.compile("stroke-dasharray"))
    ask = page.get_by_role("button", name="Tell me when it ends")
    ask.click()
    expect(page.get_by_role("button", name="You will be told")).to_be_disabled()
    page.get_by_role("link", name="New job", exact=True).click()
    expect(page.get_by_role("link", name="Jobs")).to_have_attribute("data-running", " · 1 running")
    (job.folder / "go").touch()
    until(lambda: page.evaluate("window.told") == ["keep: Finished"])
    page.go_back()
    expect(icon).to_have_attribute("href", re.compile("M8%2017"))
    expect(page).to_have_title("Finished · keep · QLoRA UI")
