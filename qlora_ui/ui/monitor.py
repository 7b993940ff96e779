"""A job's page: its still parts, in one language. `assets/monitor.js` fills them from the job's events."""

import json
from collections.abc import Callable
from html import escape

import gradio as gr

from qlora_ui.texts import catalog, text
from qlora_ui.ui import charts
from qlora_ui.ui.context import Context
from qlora_ui.ui.routes import NAME, assets

SAID_BY_SCRIPT = {
    "ago": "ui.job.ago",
    "days": "ui.time.days",
    "hours": "ui.time.hours",
    "minutes": "ui.time.minutes",
    "now": "ui.job.now",
    "retry": "ui.memory.retry",
    "seconds": "ui.time.seconds",
    "starts": "ui.job.starts",
    "copied": "ui.job.copied",
    "copy": "ui.job.copy",
    "log_none": "ui.job.log_none",
    "step": "ui.job.numbers_step",
    "traceback_none": "ui.job.traceback_none",
    "unreachable": "ui.job.unreachable",
}


def build(language: str, context: Context) -> gr.HTML:
    """The page of whichever job the address names."""
    options = {
        "language": language,
        "charts": charts.described(language),
        "metrics": charts.METRICS,
        "texts": {name: catalog(language)[key] for name, key in SAID_BY_SCRIPT.items()},
    }
    return gr.HTML(
        _page(language),
        elem_id="job",
        apply_default_css=False,
        js_on_load=script("monitor.js", options),
    )


def script(name: str, options: object) -> str:
    """`js_on_load` that starts one of our scripts, below whatever path the page lies."""
    return (
        'const root = (window.gradio_config?.root || location.origin).replace(/\\/$/, "");'
        f"import(`${{root}}/{assets()}/{name}`)"
        f".then((script) => script.start(element, root, {json.dumps(options)}));"
    )


def _page(language: str) -> str:
    def say(key: str) -> str:
        return escape(text(language, f"ui.job.{key}"))

    return f"""
<p class="job-gone card" role="alert" hidden><span data-el="gone"></span>
 <a class="button" href="?view=jobs" data-nav="jobs">{say("all")}</a></p>
<div class="job-grid">
 <div class="job-main">
  <section class="card" aria-labelledby="job-name">{_head(say)}</section>
  {_large(language, say)}
  <div class="job-small">{"".join(_small(chart) for chart in charts.described(language)[1:])}</div>
  <details class="card job-numbers" data-el="numbers"><summary>{say("numbers_table")}</summary>
   <div class="job-table" tabindex="0" role="region" aria-label="{say("numbers_table")}"><table></table></div>
  </details>
  <section class="card job-log" aria-labelledby="job-log-title">
   <div class="job-row"><h2 id="job-log-title">{say("log")}</h2>
    <button type="button" class="button small" data-el="log-end" hidden>{say("log_end")}</button></div>
   <pre role="log" tabindex="0" aria-labelledby="job-log-title" data-el="log"></pre>
  </section>
 </div>
 <aside class="card job-aside">
  <h2>{say("details")}</h2><dl class="kv" data-el="details"></dl>
  <ul class="job-chain" data-el="chain"></ul>
  <h2 data-el="answers-title">{say("answers")}</h2>
  <p class="hint" data-el="answers-none">{say("answers_none")}</p><div data-el="answers"></div>
  <h2 data-el="next-title" data-done="{say("next_title_done")}" data-wait="{say("next_title")}"></h2>
  <p class="hint" data-el="next"></p><pre class="code" tabindex="0" data-el="code" hidden></pre>
 </aside>
</div>"""


def _head(say: Callable[[str], str]) -> str:
    return f"""
<div class="job-row">
 <div class="job-title"><h2 id="job-name" tabindex="-1" data-el="name">{say("loading")}</h2>
  <button type="button" class="button small" data-el="rename" disabled>{say("rename")}</button></div>
 <span class="job-state" role="status"><i class="icon" data-el="icon"></i><span data-el="state"></span></span>
</div>
<form class="job-form" data-el="rename-form" hidden>
 <label>{say("name")}<input data-el="rename-input" maxlength="{NAME}" autocomplete="off"></label>
 <button class="button primary">{say("save_name")}</button>
 <button type="button" class="button" data-el="rename-cancel">{say("cancel")}</button>
</form>
<div class="prog" role="progressbar" aria-label="{say("progress")}" aria-valuemin="0" aria-valuemax="100"
 data-el="progress"><div></div></div>
<p class="hint job-line" data-el="line"></p>
<ul class="hint job-kept" data-el="kept"></ul>
<p class="job-changed" data-el="changed" hidden></p>
<p class="job-lost" role="status" data-el="silent" hidden></p>
<p class="job-lost" role="status" data-el="lost" hidden></p>
<div class="job-fault" role="alert" data-el="fault" hidden>
 <p><b data-el="what"></b></p><p data-el="figures" hidden></p><p data-el="do"></p></div>
<div class="job-plan" data-el="plan" hidden><h3>{say("plan")}</h3><ul data-el="plan-list"></ul></div>
<form class="job-form" data-el="token-form" hidden>
 <label>{say("token_label")}<input type="password" data-el="token-input" autocomplete="off"></label>
 <button class="button primary">{say("token_give")}</button>
 <p class="hint">{say("token_hint")}</p>
</form>
<p class="job-refused" role="alert" data-el="refused" hidden></p>
<div class="job-buttons">
 <button type="button" class="button" data-el="resume" hidden></button>
 <a class="button" data-el="download" download hidden>{say("download")}</a>
 <button type="button" class="button" data-el="stop" hidden></button>
 <button type="button" class="button" data-el="pause" hidden></button>
 <a class="button" data-nav="new" data-el="further" hidden>{say("further")}</a>
 <a class="button" data-nav="new" data-el="from" hidden>{say("from")}</a>
 <button type="button" class="button" data-el="notify" hidden>{say("notify")}</button>
 <button type="button" class="button" data-el="command-button" aria-expanded="false"
  disabled>{say("command")}</button>
 <button type="button" class="button" data-el="delete" hidden>{say("delete")}</button>
</div>
<div class="job-ask" data-el="ask" hidden><span>{say("delete_sure")}</span>
 <button type="button" class="button danger" data-el="delete-yes">{say("delete_yes")}</button>
 <button type="button" class="button" data-el="delete-no">{say("delete_no")}</button></div>
<div class="job-command" data-el="command" hidden><p class="hint">{say("command_hint")}</p>
 <div class="job-row"><code tabindex="0" data-el="command-text"></code>
 <button type="button" class="button small" data-el="copy">{say("copy")}</button></div></div>
<details class="job-traceback" data-el="traceback" hidden><summary>{say("traceback")}</summary>
 <pre tabindex="0" data-el="traceback-text"></pre></details>"""


def _large(language: str, say: Callable[[str], str]) -> str:
    chart = charts.described(language)[0]
    legend = "".join(
        f'<span><i class="stroke{" dashed" if at else ""}"></i>{escape(label)}</span>'
        for at, label in enumerate(chart["labels"])
    )
    zoom = "".join(
        f'<button type="button" class="button small" data-zoom="{way}">{say(f"zoom_{way}")}</button>'
        for way in ("in", "out", "all")
    )
    return f"""
<section class="card" data-chart="{chart["name"]}"><h2>{escape(chart["title"])}</h2>
 <p class="hint job-say" id="say-{chart["name"]}" data-el="say"></p>
 <div class="figure large" role="img" aria-label="{escape(chart["title"])}"
  aria-describedby="say-{chart["name"]}" data-el="figure"></div>
 <div class="job-row"><div class="legend">{legend}</div><div class="zoom">{zoom}</div></div></section>"""


def _small(chart: dict[str, object]) -> str:
    title, name = escape(str(chart["title"])), chart["name"]
    return f"""
<section class="card" data-chart="{name}"><h3>{title}</h3><div class="big" data-el="now">–</div>
 <div class="figure" role="img" aria-label="{title}" aria-describedby="say-{name}" data-el="figure"></div>
 <p class="hint" id="say-{name}" data-el="say"></p></section>"""
