"""Texts with marks → HTML: `[held out|held_out]` becomes a word that opens its meaning, `*so*` is bold."""

import re
from html import escape
from typing import Any

from qlora_ui.texts import catalog

BOLD = re.compile(r"\*([^*]+)\*")
TERM = re.compile(r"\[([^\]|]+)\|([a-z0-9_]+)\]")
PREFIX = "term."


def marked(language: str, key: str, **values: Any) -> str:
    """A text as HTML: placeholders filled and escaped, terms as buttons. Raises KeyError."""
    safe = {name: escape(str(value)) for name, value in values.items()}
    return _with_marks(escape(catalog(language)[key], quote=False)).format(**safe)


def entries(language: str) -> str:
    """The meaning of every term, closed; once on a page. Opened by the buttons that `marked` makes."""
    texts = catalog(language)
    return "".join(
        f'<div popover class="gloss" id="gloss-{key[len(PREFIX) :]}">{escape(texts[key])}</div>'
        for key in texts
        if key.startswith(PREFIX)
    )


def _with_marks(html: str) -> str:
    button = r'<button type="button" class="term" popovertarget="gloss-\2">\1</button>'
    return BOLD.sub(r"<b>\1</b>", TERM.sub(button, html))
