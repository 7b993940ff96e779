"""What can be measured of how the page looks: contrast and names (axe), widths, words of its language."""

import re
from pathlib import Path

import axe_playwright_python
import pytest
from playwright.sync_api import Page, expect

from qlora_ui.config import LORA_MODULES
from qlora_ui.models import SUGGESTIONS
from tests.browser.conftest import NewPage

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text("utf-8")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
HAN = re.compile(r"[\u4e00-\u9fff]")

# Texts that are the same in every language: names, numbers, code.
SAME = {
    "QLoRA UI",
    "English",
    "CPU",
    "LoRA",
    "epoch",
    "r",
    "lora_alpha",
    "SmolLM2 135M",
    "tatsu-lab/alpaca",
    *LORA_MODULES,
}
NUMBER = re.compile(r"((r|lora_alpha) )?[\d\s.,%×:·/()（）✓–-]*( ?[kMG]?B)?")

TEXTS = """() => {
  const found = new Set(), names = ["placeholder", "aria-label", "title", "alt"];
  const aside = "script, style, [hidden], .nav-holder";
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    if (!node.parentElement.closest(aside)) found.add(node.textContent.trim());
  }
  for (const name of names) {
    for (const one of document.querySelectorAll(`[${name}]`)) found.add(one.getAttribute(name).trim());
  }
  return [...found, document.title].filter(Boolean);
}"""


def open_all(page: Page) -> None:
    """Everything that a press can open on the form, and a refusal."""
    for source, value in (("model", "hub"), ("dataset", "file")):
        # an event, not a press: on a phone the fixed Start may lie over where the test has scrolled to
        page.locator(f'#{source}\\.source input[value="{value}"]').dispatch_event("click")
    for fold in page.locator("[data-fold]").all():
        fold.dispatch_event("click")
    page.locator('#lora\\.modules input[value="named"]').dispatch_event("click")
    page.locator("#start").click()
    expect(page.locator(".problem")).to_have_count(2)


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("path", ["/", "/zh"])
def test_axe_finds_no_fault(new_page: NewPage, path: str, mode: str) -> None:
    page = new_page(path, color_scheme=mode)
    expect(page.locator("#side .say")).to_be_visible()
    page.evaluate(AXE)
    run = f"() => axe.run(document, {{runOnly: {RULES}, resultTypes: ['violations']}})"
    for stage in ("as opened", "all open"):
        if stage == "all open":
            open_all(page)
            # A list that is still fading in has no contrast yet.
            page.evaluate("Promise.allSettled(document.getAnimations().map((one) => one.finished))")
        found = page.evaluate(run)
        assert len(found["passes"]) > 10
        said = [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found["violations"]]
        assert not said, stage


@pytest.mark.parametrize("path", ["/", "/zh"])
@pytest.mark.parametrize("width", [320, 375, 768, 1280])
def test_no_sideways_scroll_and_nothing_cut(new_page: NewPage, path: str, width: int) -> None:
    page = new_page(path, viewport={"width": width, "height": 700})
    open_all(page)
    wide = page.evaluate(
        """() => [...document.querySelectorAll("#header *, #view-new *")].filter((one) => {
          const box = one.getBoundingClientRect();
          return box.width > 1 && (box.right > innerWidth + 1 || box.left < -1);
        }).map((one) => one.outerHTML.slice(0, 120))"""
    )
    assert not wide
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_on_a_phone_start_stays_in_reach_and_boxes_do_not_zoom(new_page: NewPage) -> None:
    page = new_page(viewport={"width": 375, "height": 700})
    start = page.locator("#start")
    for _ in range(2):
        box = start.bounding_box()
        assert box is not None and box["y"] + box["height"] == 700 and box["width"] == 375
        page.mouse.wheel(0, 4000)
    sizes = page.evaluate(
        """[...document.querySelectorAll("#view-new :is(input, textarea)")]
          .filter((one) => !["range", "radio", "checkbox", "file"].includes(one.type))
          .map((one) => parseFloat(getComputedStyle(one).fontSize))"""
    )
    assert len(sizes) > 10 and min(sizes) >= 16


def test_on_a_desktop_start_stays_in_sight(new_page: NewPage) -> None:
    page = new_page()
    page.set_viewport_size({"width": 1280, "height": 800})
    page.mouse.move(400, 400)
    page.mouse.wheel(0, 5000)
    page.wait_for_function("scrollY > 300")
    box = page.get_by_role("button", name="Start training").bounding_box()
    assert box and box["y"] >= 0 and box["y"] + box["height"] <= 800


def test_targets_are_large_enough(new_page: NewPage) -> None:
    page = new_page(viewport={"width": 375, "height": 700})
    open_all(page)
    small = page.evaluate(
        """() => [...document.querySelectorAll("#header a, #view-new :is(button:not(.term), .chips label)")]
          .filter((one) => one.checkVisibility()).map((one) => [one.innerText, one.getBoundingClientRect()])
          .filter(([, box]) => box.width < 24 || box.height < 24).map(([words]) => words)"""
    )
    assert not small


def test_the_keyboard_shows_where_it_is(new_page: NewPage) -> None:
    """Every stop of the Tab key from the top to Start has an outline, and Start is reached."""
    page = new_page()
    expect(page.locator("#side .say")).to_be_visible()
    for _ in range(90):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "start":
            return
        seen = page.evaluate(
            """() => [document.activeElement, document.activeElement.closest("label, .wrap")]
              .some((one) => one && getComputedStyle(one).outlineStyle === "solid")"""
        )
        assert seen, page.evaluate("document.activeElement.outerHTML.slice(0, 200)")
    raise AssertionError("Start was not reached")


def test_every_chinese_text_is_chinese(new_page: NewPage) -> None:
    page = new_page("/zh", locale="zh-CN")
    expect(page.locator("#side .say")).to_be_visible()
    texts = set(page.evaluate(TEXTS))
    page.locator("#model\\.source input[value=hub]").check(force=True)
    page.locator("#model\\.hub input").click()
    texts |= set(page.evaluate(TEXTS))
    page.keyboard.press("Escape")
    for listed in ("dataset\\.format", "trainer\\.lr_scheduler_type"):
        if listed.startswith("trainer"):
            page.locator("[data-fold]").last.click()
        page.locator(f"#{listed} input").click()
        texts |= set(page.evaluate(TEXTS))
        page.keyboard.press("Escape")
    texts |= set(page.evaluate(TEXTS))
    models = {f"{model.name} · {model.size}" for model in SUGGESTIONS}
    left = {text for text in texts - SAME - models if not HAN.search(text) and not NUMBER.fullmatch(text)}
    assert not sorted(left)
    assert len(texts) > 100
