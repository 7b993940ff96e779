"""The page "New job": four cards in the order a person thinks, and beside them what Start will do.

The layout is written by hand; a field's words, bounds and default come from `texts/` and `config.py`.
What moves when is in `wiring.py`.
"""

from dataclasses import dataclass
from html import escape

import gradio as gr

from qlora_ui import models
from qlora_ui.config import LORA_MODULES
from qlora_ui.presets import PRESETS
from qlora_ui.settings import Settings
from qlora_ui.texts import text
from qlora_ui.ui.collect import THREE
from qlora_ui.ui.fields import Fields
from qlora_ui.ui.glossary import marked
from qlora_ui.ui.theme import ASSETS

UPLOADS = [".json", ".jsonl", ".csv"]
STORAGE = "qlora-ui-form-v1"  # one form for both languages: its values are the same words in each

# Fields of TrainConfig that have no place of their own on the form, and why (a test holds this list true).
NOT_ON_FORM = {
    "version": "not a choice",
    "model.name_or_path": "model.hub and model.folder fill it",
    "dataset.path": "dataset.file and dataset.hub fill it",
    "dataset.name": "the upload's own name",
    "quantization.load_in_4bit": "QLoRA is 4 bit",
    "quantization.bnb_4bit_quant_type": "NF4 is the only type that the project trains",
    "trainer.logging_steps": "every step is on the curve; for jobs started without the page",
}


@dataclass(frozen=True, slots=True)
class Form:
    """The components of one language's form. `fields` go to and come from the browser's storage; the token
    box is none of them. `store` is all fields as one dict by path; `upload` {key, name} of a kept file."""

    language: str
    fields: Fields
    store: gr.BrowserState
    upload: gr.BrowserState
    choose_file: gr.UploadButton
    data_words: gr.HTML
    parent: gr.HTML
    parent_words: gr.HTML
    presets: gr.HTML
    preset_words: gr.HTML
    rank_words: gr.HTML
    strength_words: gr.HTML
    side: gr.HTML
    token: gr.Textbox
    start: gr.Button
    outcome: gr.HTML
    reset: gr.Button


def layout(language: str, settings: Settings) -> Form:
    """Draw the form in the open Blocks."""
    fields = Fields(language)
    parts: dict[str, gr.components.Component] = {}
    parts["store"] = gr.BrowserState(None, storage_key=STORAGE, secret=STORAGE)
    parts["upload"] = gr.BrowserState(None, storage_key=f"{STORAGE}-upload", secret=STORAGE)
    with gr.Row(elem_id="new-job"):
        with gr.Column(elem_classes="cards"):
            parts |= _parent(fields)
            parts["token"] = _model_card(fields, settings)
            parts |= _data_card(fields)
            parts |= _change_card(fields)
            _training_card(fields)
        with gr.Column(elem_id="aside", elem_classes="card"):
            parts |= _side(fields)
    return Form(language, fields, **parts)


def _parent(fields: Fields) -> dict[str, gr.components.Component]:
    """The job whose adapter this one goes on from: its id as a field nobody sees, and what is said of it."""
    parent = gr.HTML(
        "",
        html_template="",
        js_on_load=(ASSETS / "parent.js").read_text("utf-8"),
        elem_id="parent",
        apply_default_css=False,
    )
    words = gr.HTML(elem_id="parent-words", apply_default_css=False)
    return {"parent": fields.own("parent", parent, ""), "parent_words": words}


def _heading(language: str, card: str, number: int) -> None:
    title = escape(text(language, f"ui.card.{card}.title"))
    hint = marked(language, f"ui.card.{card}.hint")
    gr.HTML(
        f'<h2 tabindex="-1"><i aria-hidden="true">{number}</i>{title}</h2><p class="hint">{hint}</p>',
        apply_default_css=False,
    )


def _fold(language: str, card: str) -> None:
    """The button that opens the next column. (`gr.Accordion` draws its content only once it is open: a
    message beside a field in it would have nowhere to stand.)"""
    words = escape(text(language, f"ui.card.{card}.advanced"))
    button = f'<button type="button" data-fold aria-expanded="false"><span>{words}</span></button>'
    gr.HTML(button, elem_classes="fold", apply_default_css=False)


def _model_card(fields: Fields, settings: Settings) -> gr.Textbox:
    language = fields.language
    with gr.Column(elem_id="card-model", elem_classes="card"):
        _heading(language, "model", 1)
        fields.choice("model.source")
        with gr.Column(elem_classes="only-hub"):
            fields.dropdown("model.hub", _suggestions(language), "", allow_custom_value=True)
            with gr.Row():
                fields.text("model.revision")
                token = gr.Textbox(
                    label=text(language, "field.model.token.label"),
                    info=text(language, "field.model.token.help"),
                    type="password",
                    elem_id="model.token",
                    max_lines=1,
                    html_attributes=gr.InputHTMLAttributes(autocomplete="off", spellcheck=False),
                )
        with gr.Column(elem_classes="only-folder"):
            folders = [(folder.name, str(folder)) for folder in models.local_folders(settings.model_dirs)]
            fields.dropdown("model.folder", folders, "", allow_custom_value=True)
    return token


def _suggestions(language: str) -> list[tuple[str, str]]:
    keys = {False: "ui.model.suggestion", True: "ui.model.suggestion_gated"}
    return [
        (text(language, keys[model.gated], name=model.name, size=model.size), model.hub_id)
        for model in models.SUGGESTIONS
    ]


def _data_card(fields: Fields) -> dict[str, gr.components.Component]:
    language = fields.language
    with gr.Column(elem_id="card-data", elem_classes="card"):
        _heading(language, "data", 2)
        fields.choice("dataset.source")
        with gr.Column(elem_classes="only-file"):
            choose = gr.UploadButton(
                text(language, "ui.upload"), file_types=UPLOADS, elem_id="dataset.file", size="md"
            )
            uploading = escape(text(language, "ui.uploading", name="{name}"))
            other = escape(text(language, "ui.upload_type", name="{name}"))
            gr.HTML(
                f'<p class="hint" role="status" data-uploading="{uploading}" data-other="{other}"></p>',
                apply_default_css=False,
            )
        with gr.Row(elem_classes="only-hub"):
            fields.text("dataset.hub", "", placeholder="tatsu-lab/alpaca")
            fields.text("dataset.subset")
            fields.text("dataset.split")
        found = gr.HTML(elem_id="data-words", apply_default_css=False)
        with gr.Row():
            fields.dropdown("dataset.format", fields.options("dataset.format"))
            fields.number("dataset.eval_share", step=1)
    return {"choose_file": choose, "data_words": found}


def _change_card(fields: Fields) -> dict[str, gr.components.Component]:
    language = fields.language
    parts: dict[str, gr.components.Component] = {}
    with gr.Column(elem_id="card-change", elem_classes="card"):
        _heading(language, "change", 3)
        parts["presets"] = fields.own("preset", _presets(language), "general")
        parts["preset_words"] = gr.HTML(elem_id="preset-words", apply_default_css=False)
        fields.snap("lora.r", top=8)
        parts["rank_words"] = gr.HTML(elem_classes="moving", apply_default_css=False)
        fields.snap("lora.lora_alpha", top=9)
        parts["strength_words"] = gr.HTML(elem_classes="moving", apply_default_css=False)
        fields.checkbox("lock", False)
        _fold(language, "change")
        with gr.Column(elem_classes="advanced"):
            with gr.Row():
                fields.number("lora.lora_dropout", step=0.05)
                fields.checkbox("lora.use_rslora")
            fields.choice("lora.modules", ("all-linear", "attention", "named"), titled=True)
            with gr.Column(elem_classes="only-named"):
                fields.many("lora.target_modules", list(LORA_MODULES), list(LORA_MODULES))
    return parts


def _presets(language: str) -> gr.HTML:
    """The preset buttons; the value is the name of the pressed one."""
    buttons = "".join(
        f'<button type="button" class="chip" data-preset="{name}" aria-pressed="false">'
        f"{escape(text(language, f'preset.{name}.label'))}</button>"
        for name in PRESETS
    )
    label = escape(text(language, "ui.presets"))
    return gr.HTML(
        "general",
        html_template=f'<div class="chip-row" role="group" aria-label="{label}">{buttons}</div>',
        js_on_load=(ASSETS / "presets.js").read_text("utf-8"),
        elem_id="presets",
        apply_default_css=False,
    )


def _training_card(fields: Fields) -> None:
    language = fields.language
    with gr.Column(elem_id="card-training", elem_classes="card"):
        _heading(language, "training", 4)
        fields.choice("length", ("epochs", "steps"))
        with gr.Row():
            with gr.Column(elem_classes="only-epochs", min_width=160):
                fields.number("trainer.num_train_epochs", step=1)
            with gr.Column(elem_classes="only-steps", min_width=160):
                fields.number("trainer.max_steps", value=200, step=10)
            fields.number("trainer.learning_rate", step=0.0001)
            fields.number("batch.rows_per_step", step=1)
        _fold(language, "training")
        with gr.Column(elem_classes="advanced"):
            with gr.Row():
                fields.number("batch.max_length", step=256)
                fields.number("trainer.per_device_train_batch_size", step=1)
                fields.number("trainer.eval_steps", step=0.05)
            with gr.Row():
                fields.dropdown("trainer.lr_scheduler_type", fields.options("trainer.lr_scheduler_type"))
                fields.number("trainer.warmup_steps", step=0.01)
                fields.number("trainer.weight_decay", step=0.01)
            with gr.Row():
                fields.number("trainer.max_grad_norm", step=0.1)
                fields.number("trainer.seed", step=1)
                checkpointing = "trainer.activation_checkpointing"
                fields.dropdown(checkpointing, fields.options(checkpointing, tuple(THREE)))
            with gr.Row():
                fields.number("keep.checkpoint_minutes", step=1)
                fields.number("keep.early_stopping_patience", step=1)
            fields.checkbox("keep.smaller_micro_batch")
            fields.checkbox("quantization.bnb_4bit_use_double_quant")


def _side(fields: Fields) -> dict[str, gr.components.Component]:
    language = fields.language
    side = gr.HTML(elem_id="side", apply_default_css=False)
    fields.text("name", "", placeholder=text(language, "ui.name.placeholder"), max_length=120)
    outcome = gr.HTML(
        html_template='<p class="outcome" role="alert"></p>',
        js_on_load=(ASSETS / "outcome.js").read_text("utf-8"),
        elem_id="outcome",
        apply_default_css=False,
    )
    start = gr.Button(text(language, "ui.start"), variant="primary", elem_id="start")
    after = escape(text(language, "ui.start.after"))
    gr.HTML(f'<p class="hint">{after}</p>', apply_default_css=False)
    reset = gr.Button(text(language, "ui.reset"), elem_id="reset", size="sm", variant="secondary")
    return {"side": side, "outcome": outcome, "start": start, "reset": reset}
