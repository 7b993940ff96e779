"""A job's page in a real browser, over a real worker process: live, resumed, stopped, named, failed."""

import zipfile
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from qlora_ui.events import Answer, Log, Metrics, Phase
from tests.browser.conftest import App, NewPage
from tests.browser.workers import Worked
from tests.waiting import until


def step(number: int) -> Metrics:
    values = {"loss": 2 / number, "learning_rate": 1e-4, "tokens_per_second": 498.0, "memory": 2.6e9}
    return Metrics(number, number / 12, values)


@pytest.fixture
def job(app: App) -> Iterator[Worked]:
    job = Worked(app, "wait")
    yield job
    job.end()


def head(page: Page) -> Locator:
    return page.locator("#job section").first


def steps(page: Page) -> Locator:
    """The steps in the table of numbers, which has every point that the charts have."""
    return page.locator("#job .job-table tbody td:first-child")


def test_log_and_curve_grow_as_the_job_does(new_page: NewPage, job: Worked) -> None:
    page = new_page(f"/?job={job.id}")
    expect(head(page)).to_contain_text("Training")
    job.write(Phase("training", 0, 20, "steps"), *map(step, range(2, 11)))
    expect(head(page)).to_contain_text("Step 10 of 20")
    expect(page.get_by_role("progressbar", name="Progress")).to_have_attribute("aria-valuenow", "50")
    expect(page).to_have_title("50 % · wait · QLoRA UI")
    expect(page.get_by_text("Fell from 1.00 to 0.2.")).to_be_visible()
    job.write(
        Log("of a newer version", {"name": "<img src=x onerror=alert(1)>"}), Answer(0, "<b>Q</b>", "<i>A</i>")
    )
    log = page.get_by_role("log")
    expect(log).to_contain_text("of a newer version name=<img src=x onerror=alert(1)>")
    expect(page.locator("#job aside")).to_contain_text("<i>A</i>")
    assert page.locator("#job :is(img, aside b, aside i)").count() == 0
    expect(page.locator('[data-chart="loss"] .bk-Figure')).to_be_visible()
    page.get_by_text("The numbers as a table").click()
    expect(steps(page)).to_have_text([str(n) for n in range(1, 11)])
    page.reload()
    expect(head(page)).to_contain_text("Step 10 of 20")
    expect(log).to_contain_text("of a newer version")


def test_the_log_follows_its_end_unless_it_is_being_read(new_page: NewPage, job: Worked) -> None:
    page = new_page(f"/?job={job.id}")
    log = page.get_by_role("log")
    job.write(*(Log(f"line {n}") for n in range(100)))
    expect(log).to_contain_text("line 99")
    at_end = "log => log.scrollHeight - log.scrollTop - log.clientHeight < 8"
    assert log.evaluate(at_end)
    log.evaluate("log => { log.scrollTop = 40 }")
    to_end = page.get_by_role("button", name="To the end")
    expect(to_end).to_be_visible()
    job.write(*(Log(f"line {n}") for n in range(100, 400)))
    expect(log).to_contain_text("line 399")
    assert log.evaluate("log => log.scrollTop") == 40
    assert len(log.locator("div").all()) == 300
    to_end.click()
    assert log.evaluate(at_end)


def test_nothing_is_lost_or_doubled_by_a_restart_of_the_server(
    new_page: NewPage, app: App, job: Worked
) -> None:
    page = new_page(f"/?job={job.id}")
    job.write(Phase("training", 0, 20, "steps"), *map(step, range(2, 6)), Log("before"))
    expect(page.get_by_role("log")).to_contain_text("before")
    page.get_by_text("The numbers as a table").click()
    app.stop()
    expect(page.get_by_text("The server does not answer")).to_be_visible()
    job.write(*map(step, range(6, 9)), Log("while it was away"))
    app.start()
    expect(page.get_by_role("log")).to_contain_text("while it was away")
    expect(page.get_by_text("The server does not answer")).to_be_hidden()
    job.write(step(9), Log("after"))
    expect(page.get_by_role("log")).to_contain_text("after")
    expect(steps(page)).to_have_text([str(n) for n in range(1, 10)])
    said = [line.split(" ", 1)[1] for line in page.get_by_role("log").locator("div").all_inner_texts()]
    assert [line for line in said if not line.startswith("Step ")] == ["before", "while it was away", "after"]
    numbers = [line.split(":")[0] for line in said if line.startswith("Step ")]
    assert numbers == [f"Step {n}" for n in range(1, 10)]


def test_a_page_that_nobody_sees_asks_for_nothing_and_catches_up(new_page: NewPage, job: Worked) -> None:
    page = new_page(f"/?job={job.id}")
    expect(head(page)).to_contain_text("Training")
    hide = """hidden => {
        Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    with page.expect_event("requestfailed", lambda request: "/events" in request.url):
        page.evaluate(hide, True)
    job.write(Log("unseen"), step(2))
    with page.expect_request(lambda request: f"{job.id}/events" in request.url) as request:
        page.evaluate(hide, False)
    assert "from=&" not in request.value.url
    expect(page.get_by_role("log")).to_contain_text("unseen")
    page.get_by_text("The numbers as a table").click()
    expect(steps(page)).to_have_text(["1", "2"])


def test_stop_saves_and_what_was_learnt_is_downloaded(new_page: NewPage, job: Worked) -> None:
    page = new_page(f"/?job={job.id}")
    page.get_by_role("button", name="Save and stop").dblclick()  # the second press must not kill
    expect(head(page)).to_contain_text("Stopped by you")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the adapter").click()
    with zipfile.ZipFile(download.value.path()) as received:
        assert received.namelist() == ["adapter/adapter_model.safetensors", "config.json"]
    expect(page.locator("#job aside")).to_contain_text("The adapter can be used like a finished one")


def test_a_name_is_given_in_place(new_page: NewPage, job: Worked) -> None:
    page = new_page(f"/?job={job.id}")
    rename = page.get_by_role("button", name="Rename")
    rename.click()
    box = page.locator("#job").get_by_label("Name of the job")
    expect(box).to_have_value("wait")
    page.keyboard.type("no")
    expect(box).to_have_value("no")
    box.press("Escape")
    expect(rename).to_be_focused()
    expect(head(page).get_by_role("heading")).to_have_text("wait")
    rename.press("Enter")
    box.fill("<b>Pirate</b> 海盗")
    box.press("Enter")
    expect(head(page).get_by_role("heading")).to_have_text("<b>Pirate</b> 海盗")
    until(lambda: (job.row() or {})["name"] == "<b>Pirate</b> 海盗")


def test_a_failure_says_what_and_how_to_mend_it(new_page: NewPage, app: App) -> None:
    job = Worked(app, "fail")
    page = new_page(f"/?job={job.id}")
    expect(head(page)).to_contain_text("Failed")
    expect(head(page)).to_contain_text("The disk is full")
    expect(head(page)).to_contain_text("Delete jobs or files you no longer need")
    expect(page.get_by_role("button", name="Start again").and_(page.locator(".primary"))).to_be_visible()
    page.get_by_text("Technical details").click()
    expect(page.locator(".job-traceback pre")).to_contain_text("Traceback")


def test_the_command_is_exact_and_delete_asks_once(new_page: NewPage, app: App) -> None:
    job = Worked(app, "finish")
    page = new_page(f"/?job={job.id}")
    page.get_by_role("button", name="Show command").click()
    expect(page.locator(".job-command code")).to_have_text(
        f"python -m qlora_ui train {job.folder}/config.json --home {app.home}"
    )
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_role("button", name="Keep it")).to_be_focused()
    page.keyboard.press("Enter")
    assert job.folder.exists()
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("button", name="Yes, delete").click()
    expect(page).to_have_url(f"{app.address}/?view=jobs")
    until(lambda: not job.folder.exists())
    page.goto(f"{app.address}/?job={job.id}")
    expect(page.get_by_text("There is no such job")).to_be_visible()


def test_charts_follow_the_colour_scheme_and_zoom(new_page: NewPage, job: Worked) -> None:
    page = new_page(f"/?job={job.id}", color_scheme="light")
    job.write(*map(step, range(2, 41)))
    until(lambda: page.evaluate("() => window.Bokeh?.documents?.length === 5"))
    colour = "() => Bokeh.documents[0].roots()[0].renderers[0].glyph.line_color.value"
    light = page.evaluate(colour)
    page.emulate_media(color_scheme="dark")
    until(lambda: page.evaluate(colour) != light)
    dark = (
        "() => getComputedStyle(document.querySelector('#job .figure')).getPropertyValue('--accent').trim()"
    )
    assert page.evaluate(colour) == page.evaluate(dark)
    figure = page.locator('[data-chart="loss"] .figure')

    def pointed_at() -> bool:
        for x in (300, 310):  # what is drawn anew under a still pointer says nothing
            figure.hover(position={"x": x, "y": 130})
        return bool(page.evaluate("document.querySelector('.bk-Tooltip') !== null"))

    until(pointed_at)
    tooltip = "() => getComputedStyle(document.querySelector('.bk-Tooltip')).backgroundColor"
    assert page.evaluate(tooltip) == "rgb(28, 25, 23)"
    hovered = "() => Bokeh.documents[0].roots()[0].renderers[0].hover_glyph"
    assert page.evaluate(hovered) is None
    seen = "() => Bokeh.documents[0].roots()[0].x_range.start"
    until(lambda: page.evaluate(seen) < 1 and page.evaluate(seen.replace("start", "end")) > 40)
    page.get_by_role("button", name="Zoom in").click()
    assert page.evaluate(seen) > 15
    page.get_by_role("button", name="Show all").click()
    assert page.evaluate(seen) < 1
