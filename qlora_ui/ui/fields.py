"""A field's declaration in `config.py` and its texts → a Gradio component whose id is the field's path."""

from collections.abc import Sequence
from html import escape
from typing import Any, get_args

import gradio as gr

from qlora_ui.texts import catalog, text
from qlora_ui.ui.collect import declaration, initial
from qlora_ui.ui.glossary import marked
from qlora_ui.ui.theme import ASSETS

SNAP = """
<div class="snap">
 <div class="snap-head"><span class="snap-name">{label}</span>
  <input type="text" inputmode="numeric" autocomplete="off" aria-label="{box}" maxlength="12"
   value="{value}"></div>
 <input type="range" min="0" max="{top}" step="1" aria-label="{name}" value="{exponent}">
 <div class="snap-ticks" aria-hidden="true">{ticks}</div>
</div>"""


class Fields:
    """Makes the components of one form in one language and keeps them by field path, in order."""

    def __init__(self, language: str) -> None:
        self.language = language
        self.by_path: dict[str, gr.components.Component] = {}
        self.defaults: dict[str, Any] = {}

    def number(self, path: str, value: Any = None, **options: Any) -> gr.Number:
        """A box for a number; its bounds are checked at Start, beside the field, and not by the box."""
        return self._keep(path, gr.Number(**self._words(path), **self._base(path, value), **options))

    def checkbox(self, path: str, value: bool | None = None) -> gr.Checkbox:
        return self._keep(path, gr.Checkbox(**self._words(path), **self._base(path, value)))

    def text(self, path: str, value: Any = None, **options: Any) -> gr.Textbox:
        base = self._base(path, value)
        return self._keep(path, gr.Textbox(**self._words(path), **base, max_lines=1, **options))

    def dropdown(self, path: str, choices: list[Any], value: Any = None, **options: Any) -> gr.Dropdown:
        base = self._base(path, value)
        return self._keep(path, gr.Dropdown(choices=choices, **self._words(path), **base, **options))

    def choice(self, path: str, names: Sequence[str] = (), titled: bool = False) -> gr.Radio:
        """Chips, one of which is pressed: `names`, first one first, or what the config allows. Its label is
        for screen readers only unless `titled`."""
        base = self._base(path, names[0] if names else None)
        words = {"label": text(self.language, f"field.{path}.label")}
        chips = gr.Radio(self.options(path, names), **words, **base, container=titled, elem_classes="chips")
        return self._keep(path, chips)

    def many(self, path: str, choices: list[str], value: list[str]) -> gr.CheckboxGroup:
        base = self._base(path, value)
        return self._keep(path, gr.CheckboxGroup(choices, **self._words(path), **base))

    def snap(self, path: str, top: int) -> gr.HTML:
        """A slider that snaps to 1, 2, 4 … 2**top, with a box for any whole number."""
        value = initial(path)
        name = text(self.language, f"field.{path}.label")
        template = SNAP.format(
            label=marked(self.language, f"field.{path}.term"),
            name=escape(name),
            box=escape(text(self.language, "ui.exact", name=name)),
            value=value,
            exponent=round(value).bit_length() - 1,
            top=top,
            ticks="".join(f"<span>{2**exponent}</span>" for exponent in range(top + 1)),
        )
        script = (ASSETS / "snap.js").read_text("utf-8")
        field = gr.HTML(
            value, html_template=template, js_on_load=script, elem_id=path, apply_default_css=False
        )
        return self.own(path, field, value)

    def own(self, path: str, component: Any, default: Any) -> Any:
        """Keep a component that was made elsewhere."""
        self.defaults[path] = default
        return self._keep(path, component)

    def options(self, path: str, names: Sequence[str] = ()) -> list[tuple[str, str]]:
        """(words, value) of every choice; the words are `field.<path>.<value>`."""
        declared = declaration(path)
        allowed = names or (get_args(declared.annotation) if declared else ())
        return [(text(self.language, f"field.{path}.{value}"), value) for value in allowed]

    def _words(self, path: str) -> dict[str, str | None]:
        texts = catalog(self.language)
        return {"label": texts[f"field.{path}.label"], "info": texts.get(f"field.{path}.help")}

    def _base(self, path: str, value: Any = None) -> dict[str, Any]:
        if value is None:
            value = initial(path)
        self.defaults[path] = value
        return {"value": value, "elem_id": path, "interactive": True}

    def _keep(self, path: str, component: Any) -> Any:
        self.by_path[path] = component
        return component
