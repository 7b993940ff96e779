"""Who may speak to this server: host names, origins, the login, job ids."""

import ipaddress
import os
import re
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from qlora_ui.settings import Settings
from qlora_ui.texts import LANGUAGES, text

LOOPBACK = ("localhost", "127.0.0.1", "::1")
EVERYWHERE = ("0.0.0.0", "::")
JOB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,99}", re.ASCII)


class SameOrigin:
    """Refuses requests under foreign host names (DNS rebinding) and from other web pages.

    Gradio itself answers to any Host, and runs what another origin sends before the browser hides the answer.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.names = own_names(settings)
        self.any_address = settings.host in EVERYWHERE

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (refusal := self._refusal(Headers(scope=scope))):
            await PlainTextResponse(refusal, 403)(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _refusal(self, headers: Headers) -> str:
        language = spoken(headers.get("accept-language", ""))
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._ours(_name(host)):
            return text(language, "ui.refused.host", host=host)
        if origin is not None and urlsplit(origin).netloc != host:
            return text(language, "ui.refused.origin")
        return ""

    def _ours(self, name: str) -> bool:
        # An address typed as a number is no name that could be made to point here.
        return name in self.names or (self.any_address and _is_address(name))


def own_names(settings: Settings, env: Mapping[str, str] = os.environ) -> set[str]:
    """The names under which this server may be asked."""
    names = {*LOOPBACK, settings.host.lower()}
    if settings.host in EVERYWHERE:
        names |= {socket.gethostname().lower(), socket.getfqdn().lower()}
    return names | {name.strip().lower() for name in env.get("SPACE_HOST", "").split(",") if name.strip()}


def logged_in(request: Request) -> bool:
    """Whether the request carries the login that Gradio gave out; always, where none is asked for."""
    app = request.app
    if app.auth is None:
        return True
    names = (f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}")
    return any(request.cookies.get(name) in app.tokens for name in names)


def spoken(accepted: str) -> str:
    """The first language of an Accept-Language header that there are texts in; else English."""
    for part in accepted.split(","):
        if (language := part.strip()[:2].lower()) in LANGUAGES:
            return language
    return "en"


def _name(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_token(token: str) -> bool:
    """Whether a text can be an access token of the Hub or of a mirror of it: it travels in a header."""
    return token.isascii() and token.isprintable() and len(token.split()) == 1 and len(token) <= 200
