"""Starts the web server: Gradio's page, our own routes beside it, and who may speak to them."""

import signal
import socket
import threading
from collections.abc import Callable
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from qlora_ui.errors import UserError
from qlora_ui.jobs import JobStore
from qlora_ui.scheduler import Scheduler
from qlora_ui.settings import Settings
from qlora_ui.ui import page, theme
from qlora_ui.ui.context import Context
from qlora_ui.ui.routes import Routes, assets
from qlora_ui.ui.security import SameOrigin

USER = "qlora"  # the login's name; what counts is the password
WAITING = 64  # requests in Gradio's queue


class Server:
    """A running web server. Raises UserError `port_taken`, `host_not_here`."""

    def __init__(self, demo: gr.Blocks, settings: Settings, store: JobStore, scheduler: Scheduler) -> None:
        if not _ours(settings.host):  # of any fault Gradio would say that the port is taken
            raise UserError("host_not_here", host=settings.host)
        self._routes = Routes(store, scheduler)
        self._demo = demo.queue(api_open=False, max_size=WAITING)
        try:
            self.app, self.address, _ = demo.launch(**_options(settings, self._routes))
        except OSError as error:
            raise UserError("port_taken", port=settings.port) from error

    def close(self) -> None:
        """End within a second; jobs go on."""
        self._routes.live.end()  # first: the server would wait for its open streams
        self._demo.close(verbose=False)


def serve(
    settings: Settings,
    store: JobStore,
    scheduler: Scheduler,
    opened: Callable[[str], None] = lambda address: None,
) -> None:
    """Serve the page until SIGINT or SIGTERM; `opened` is told the address. Raises UserError `port_taken`,
    `host_not_here`."""
    asked = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: asked.set())
    server = Server(page.build(Context(settings, store, scheduler)), settings, store, scheduler)
    opened(server.address)
    asked.wait()
    server.close()


def _ours(host: str) -> bool:
    """Whether `host` is an address of this machine: a port that nobody uses can be had on it."""
    try:
        family, kind, _, _, (address, *_) = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def _options(settings: Settings, routes: Routes) -> dict[str, Any]:
    look = theme.look()
    for name in ("monitor.css", "jobs.css"):
        look["head"] += f'<link rel="stylesheet" href="{assets()}/{name}">'
    return {
        **look,
        "server_name": settings.host,
        "server_port": settings.port,
        "auth": (USER, settings.password) if settings.password else None,
        "max_file_size": settings.max_upload,
        "app_kwargs": {"routes": routes.all(), "middleware": [Middleware(SameOrigin, settings=settings)]},
        "prevent_thread_lock": True,
        "quiet": True,
        "inbrowser": False,
        "share": False,
        "show_error": False,
        "run_history": False,  # keeps password boxes in clear
        "ssr_mode": False,
        "mcp_server": False,
        "enable_monitoring": False,
        "footer_links": [],
        "pwa": False,
    }
