"""The list of all jobs: its still parts, in one language. `assets/jobs.js` fills the table."""

from html import escape

import gradio as gr

from qlora_ui.texts import catalog, text
from qlora_ui.ui.context import Context
from qlora_ui.ui.monitor import script

COLUMNS = ("name", "state", "progress", "model", "created", "size", "actions")
SAID_BY_SCRIPT = (
    "ui.job.delete",
    "ui.job.delete_no",
    "ui.job.delete_sure",
    "ui.jobs.delete_checkpoints",
    "ui.jobs.delete_checkpoints_sure",
    "ui.jobs.down",
    "ui.jobs.queue_on",
    "ui.jobs.queue_pause",
    "ui.jobs.up",
    "ui.job.delete_yes",
    "ui.jobs.count",
    "ui.jobs.count_one",
    "ui.jobs.count_running",
    "ui.jobs.download",
    "ui.jobs.more",
    "ui.jobs.none_found",
    "ui.jobs.unreachable",
)


def build(language: str, context: Context) -> gr.HTML:
    """The table of jobs, empty until the script has asked for them."""
    texts = {key.rpartition(".")[2]: catalog(language)[key] for key in SAID_BY_SCRIPT}
    columns = {name: text(language, f"ui.jobs.col.{name}") for name in COLUMNS}
    options = {
        "language": language,
        "title": text(language, "ui.jobs.title"),
        "texts": texts,
        "columns": columns,
    }
    return gr.HTML(
        _page(language, columns),
        elem_id="jobs",
        apply_default_css=False,
        js_on_load=script("jobs.js", options),
    )


def _page(language: str, columns: dict[str, str]) -> str:
    def say(key: str) -> str:
        return escape(text(language, key))

    search = say("ui.jobs.search")
    heads = "".join(
        f'<th scope="col" class="col-{name}">{escape(label)}</th>' for name, label in columns.items()
    )
    return f"""
<div class="job-row jobs-head"><h2 tabindex="-1">{say("ui.jobs.title")}</h2>
 <span class="hint" role="status" data-el="count"></span><span class="hint" data-el="total"></span>
 <button type="button" class="button small" data-el="pause-queue" hidden></button>
 <input type="search" placeholder="{search}" aria-label="{search}" data-el="search"></div>
<p class="job-lost" role="status" data-el="lost" hidden></p>
<p class="job-lost" role="status" data-el="paused" hidden>{say("ui.jobs.paused")}</p>
<p class="job-refused" role="alert" data-el="refused" hidden></p>
<div class="card jobs-empty" data-el="empty" hidden><p>{say("ui.jobs.empty")}</p>
 <a class="button primary" href="?" data-nav="new">{say("ui.job.new")}</a></div>
<div class="card jobs-card" data-el="card" hidden>
 <table><thead><tr>{heads}</tr></thead><tbody data-el="rows"></tbody></table>
 <p class="hint" data-el="none" hidden></p>
 <button type="button" class="button" data-el="more" hidden></button></div>"""
