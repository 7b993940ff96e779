"""The real web server in this process over a home folder with a fake launcher, and what a browser sends."""

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import httpx

from qlora_ui.settings import from_env
from qlora_ui.ui import live
from qlora_ui.ui.routes import BASE
from qlora_ui.ui.server import Server
from tests.fake_launcher import Home


class Served:
    """A server with an empty page: its routes and its guards are what is tested."""

    def __init__(self, home: Home, **settings: Any) -> None:
        live.INTERVAL = 0.05  # seconds: nobody reads along
        self.home = home
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.settings = replace(from_env({"QLORA_UI_HOME": str(home.path)}), port=self.port, **settings)
        self.start()

    def start(self) -> None:
        self.server = asyncio.run(self._serve())
        self.origin = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(base_url=self.origin, timeout=10, trust_env=False)

    async def _serve(self) -> Server:
        # In an event loop: outside of one Gradio makes loops of its own and never closes them.
        with gr.Blocks(analytics_enabled=False) as demo:
            gr.HTML("page")
        return Server(demo, self.settings, self.home.store, self.home.scheduler)

    def stop(self) -> None:
        self.client.close()
        self.server.close()

    def restart(self) -> None:
        """Another server process, so far as the store and the files can tell."""
        self.stop()
        self.home.restart()
        self.start()

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.client.get(BASE + path, **options)

    def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        return self.client.post(BASE + path, json=body, headers={"origin": self.origin, **headers})

    @contextmanager
    def events(self, job_id: str, offset: str = "", language: str = "en") -> Iterator["Stream"]:
        headers = {"last-event-id": offset} if offset else {}
        path = f"{BASE}/jobs/{job_id}/events?lang={language}"
        with self.client.stream("GET", path, headers=headers) as answer:
            assert answer.status_code == 200
            yield Stream(answer)


class Stream:
    """Server-sent events as a browser takes them."""

    def __init__(self, answer: httpx.Response) -> None:
        self.headers = answer.headers
        self.offset = ""
        self.raw = b""
        self._lines = answer.iter_lines()

    def message(self) -> dict[str, Any]:
        """The next message. Raises StopIteration at the end, httpx.ReadTimeout if none comes."""
        while True:
            line = next(self._lines)
            if line.startswith("id: "):
                self.offset = line[4:]
            elif line.startswith("data: "):
                self.raw = f"id: {self.offset}\n{line}\n\n".encode()
                message: dict[str, Any] = json.loads(line[6:])
                return message

    def until(self, key: str) -> dict[str, Any]:
        """The next message with a key."""
        while key not in (message := self.message()):
            pass
        return message


def make_adapter(folder: Path) -> None:
    """What a worker leaves behind, small."""
    adapter = folder / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    (adapter / "adapter_model.safetensors").write_bytes(bytes(range(256)) * 5000)
