"""The frame of the page: header, the three views, the glossary; the same in each language.

Which view is open is the address's business (`/`, `?view=jobs`, `?job=ID`): `assets/page.js` says it to
`<body data-view>`, the style sheet shows that one.
"""

from html import escape

import gradio as gr

from qlora_ui.texts import LANGUAGES, text
from qlora_ui.ui import form, glossary, job_list, monitor, summary
from qlora_ui.ui.context import Context
from qlora_ui.ui.wiring import Wiring

HOUR = 3600
ROUTES = {"en": "./", "zh": "zh"}  # relative: the page may lie below a proxy's path


def build(context: Context) -> gr.Blocks:
    """All pages: English on `/`, Chinese on `/zh`."""
    with gr.Blocks(title="QLoRA UI", analytics_enabled=False, delete_cache=(HOUR, 24 * HOUR)) as page:
        _view(page, "en", context)
    with page.route(LANGUAGES["zh"], ROUTES["zh"], show_in_navbar=False):
        _view(page, "zh", context)
    return page


def _view(page: gr.Blocks, language: str, context: Context) -> None:
    badge = _header(language)
    with gr.Column(elem_id="view-new", elem_classes="view"):
        drawn = form.layout(language, context.settings)
    with gr.Column(elem_id="view-jobs", elem_classes="view"):
        job_list.build(language, context)
    with gr.Column(elem_id="view-job", elem_classes="view"):
        monitor.build(language, context)
    gr.HTML(glossary.entries(language), elem_id="glossary", apply_default_css=False)
    beacon = {"language": language, "notified": text(language, "ui.job.notified")}
    gr.HTML(
        "",
        html_template="",
        elem_id="beacon",
        apply_default_css=False,
        js_on_load=monitor.script("beacon.js", beacon),
    )
    Wiring(drawn, context).connect(page)
    page.load(
        lambda: _badge(language, context),
        None,
        badge,
        queue=False,
        show_progress="hidden",
        api_visibility="private",
    )


def _header(language: str) -> gr.HTML:
    other = next(code for code in LANGUAGES if code != language)
    links = "".join(
        f'<a href="{query}" data-nav="{view}">{escape(text(language, f"ui.nav.{view}"))}</a>'
        for view, query in (("new", "?"), ("jobs", "?view=jobs"))
    )
    with gr.Row(elem_id="header"):
        gr.HTML(
            f'<div data-language="{text(language, "ui.html_lang")}"><h1>QLoRA UI</h1>'
            f'<nav aria-label="{escape(text(language, "ui.nav"))}">{links}</nav></div>',
            apply_default_css=False,
        )
        badge = gr.HTML(elem_id="badge", apply_default_css=False)
        gr.HTML(
            f'<a href="{ROUTES[other]}" data-other-language lang="{text(other, "ui.html_lang")}">'
            f"{LANGUAGES[other]}</a>",
            elem_id="language",
            apply_default_css=False,
        )
    return badge


def _badge(language: str, context: Context) -> str:
    return f"<span>{escape(summary.machine(language, context.scheduler.gpus(), context.memory()))}</span>"
