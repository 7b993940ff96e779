"""The form in a real browser, as a person uses it: pointer, keyboard, reload."""

from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import NewPage

BOXES = {"r": "r, exact number", "lora_alpha": "lora_alpha, exact number"}


def box(page: Page, name: str) -> Locator:
    return page.get_by_label(BOXES[name])


def slider(page: Page, name: str) -> Locator:
    return page.get_by_role("slider", name=name, exact=True)


def words(page: Page, name: str) -> Locator:
    """The words that move with a number: r's, or lora_alpha's."""
    return page.locator(f"#lora\\.{name} ~ .moving").first


def test_first_visit_is_ready_to_start(new_page: NewPage) -> None:
    page = new_page()
    expect(page.get_by_label("Demo · SmolLM2 135M")).to_be_checked()
    expect(page.get_by_label("Demo data")).to_be_checked()
    expect(page.get_by_role("button", name="General task")).to_have_attribute("aria-pressed", "true")
    expect(box(page, "r")).to_have_value("8")
    expect(page.get_by_role("button", name="Start training")).to_be_enabled()
    expect(page.locator("#side")).to_contain_text("SmolLM2 135M learns from")
    expect(words(page, "r")).to_contain_text("2.44 million numbers to train, 1.8 % of the model")
    expect(page.locator("#badge")).to_contain_text("free")
    expect(page.locator(".nav-holder")).to_be_hidden()


def test_a_preset_fills_the_form_and_its_chips_are_one_press_away(new_page: NewPage) -> None:
    page = new_page()
    page.get_by_role("button", name="Complex task or new domain").click()
    expect(box(page, "r")).to_have_value("16")
    expect(box(page, "lora_alpha")).to_have_value("32")
    expect(page.locator("#preset-words")).to_contain_text("complex tasks or a distant domain")
    chips = page.locator("#preset-words button")
    expect(chips).to_have_text(["8", "16", "32", "32", "64"])
    page.get_by_role("button", name="r 32", exact=True).click()
    expect(box(page, "r")).to_have_value("32")
    expect(page.get_by_role("button", name="r 32", exact=True)).to_have_attribute("aria-pressed", "true")
    expect(words(page, "lora_alpha")).to_contain_text("Strength ×1")
    page.get_by_role("button", name="The article's example").click()
    expect(box(page, "r")).to_have_value("4")
    expect(words(page, "lora_alpha")).to_contain_text("Strength ×8")
    expect(page.locator("#lora\\.lora_dropout input")).to_have_value("0.1")


def test_own_numbers_leave_the_preset_and_a_press_brings_it_back(new_page: NewPage) -> None:
    page = new_page()
    general = page.get_by_role("button", name="General task")
    box(page, "r").fill("12")
    expect(general).to_have_attribute("aria-pressed", "false")
    expect(page.locator("#preset-words")).to_contain_text("Your own numbers")
    expect(page.locator("#preset-words button")).to_have_count(9)
    general.click()
    expect(box(page, "r")).to_have_value("8")
    expect(general).to_have_attribute("aria-pressed", "true")


def test_slider_snaps_to_powers_of_two_by_keyboard(new_page: NewPage) -> None:
    page = new_page()
    rank = slider(page, "r")
    rank.focus()
    for value, key in ((16, "ArrowRight"), (32, "ArrowRight"), (16, "ArrowLeft"), (256, "End"), (1, "Home")):
        page.keyboard.press(key)
        expect(box(page, "r")).to_have_value(str(value))
        expect(rank).to_have_attribute("aria-valuetext", str(value))
    expect(words(page, "r")).to_contain_text("Room for a style")


def test_box_takes_any_whole_number_and_the_words_follow(new_page: NewPage) -> None:
    page = new_page()
    box(page, "r").fill("48")
    expect(words(page, "r")).to_contain_text("14.7 million")
    expect(slider(page, "r")).to_have_attribute("aria-valuetext", "48")
    box(page, "lora_alpha").fill("１６")  # as a Chinese keyboard types it
    expect(words(page, "lora_alpha")).to_contain_text("Careful")
    box(page, "r").fill("1")
    expect(words(page, "lora_alpha")).to_contain_text("the article pairs")
    expect(words(page, "lora_alpha")).not_to_contain_text("Careful")


def test_chips_of_one_choice_are_moved_through_by_arrow_keys(new_page: NewPage) -> None:
    page = new_page()
    expect(page.locator("#side .say")).to_be_visible()
    page.get_by_label("Demo · SmolLM2 135M").focus()
    for name, key in (("From the Hub", "ArrowRight"), ("A folder on this server", "ArrowDown")):
        page.keyboard.press(key)
        expect(page.locator("#model\\.source").get_by_label(name)).to_be_checked()
        expect(page.locator("#model\\.source").get_by_label(name)).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_label("Demo · SmolLM2 135M")).to_be_checked()
    expect(page.locator("#side")).to_contain_text("SmolLM2 135M learns from")


def test_lock_keeps_the_strength(new_page: NewPage) -> None:
    page = new_page()
    page.get_by_label("Keep this strength when r moves").check()
    slider(page, "r").focus()
    page.keyboard.press("End")
    expect(box(page, "lora_alpha")).to_have_value("512")
    box(page, "r").fill("3")
    expect(box(page, "lora_alpha")).to_have_value("6")
    box(page, "lora_alpha").fill("3")
    expect(words(page, "lora_alpha")).to_contain_text("Strength ×1 ")
    box(page, "r").fill("24")
    expect(box(page, "lora_alpha")).to_have_value("24")
    page.get_by_label("Keep this strength when r moves").uncheck()
    box(page, "r").fill("12")
    expect(words(page, "lora_alpha")).to_contain_text("Strength ×2 ")


def test_a_term_opens_by_press_and_by_focus(new_page: NewPage) -> None:
    page = new_page(viewport={"width": 375, "height": 700})
    term = page.get_by_role("button", name="LoRA", exact=True)
    meaning = page.locator("#gloss-lora")
    term.click()
    expect(meaning).to_be_visible()
    at = meaning.bounding_box()
    assert at is not None and at["x"] >= 0 and at["x"] + at["width"] <= 375
    page.keyboard.press("Escape")
    expect(meaning).to_be_hidden()
    page.keyboard.press("Tab")
    expect(page.locator(".gloss:popover-open")).to_have_count(1)  # the next term has the focus
    page.keyboard.press("Tab")
    expect(meaning).to_be_hidden()


def test_views_follow_the_address_without_a_reload(new_page: NewPage) -> None:
    page = new_page()
    page.evaluate("window.stays = true")
    page.get_by_role("link", name="Jobs").click()
    expect(page.locator("#view-jobs")).to_be_visible()
    expect(page.locator("#view-new")).to_be_hidden()
    assert page.url.endswith("?view=jobs")
    page.get_by_role("link", name="中文").click()
    page.wait_for_url("**/zh?view=jobs")
    expect(page.locator("#view-jobs")).to_be_visible()
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    page.get_by_role("link", name="English").click()
    page.wait_for_url(lambda url: url.endswith("/?view=jobs"))
    page.get_by_role("link", name="New job", exact=True).click()
    expect(page.locator("#view-new")).to_be_visible()
    page.go_back()
    expect(page.locator("#view-jobs")).to_be_visible()


def test_start_goes_to_the_job(new_page: NewPage) -> None:
    page = new_page()
    page.locator("#name input").fill("finish")
    page.get_by_role("button", name="Start training").click()
    page.wait_for_url("**/?job=*")
    expect(page.locator("#view-job")).to_be_visible()
    expect(page.locator("body")).to_have_attribute("data-view", "job")
