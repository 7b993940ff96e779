"""One Chromium for all browser tests; one server a module, with its own home and a worker without torch."""

import os
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from qlora_ui.launchers.local import ROOT
from tests.waiting import until

# Without them headless Chromium does not start as root or in a container with little shared memory.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
NewPage = Callable[..., Page]
expect.set_options(timeout=15_000)  # two cores may be shared by all that runs


class App:
    """The server as a process. `restart()` keeps home and port, as a person who starts `app.py` again."""

    def __init__(self, home: Path, *command: str) -> None:
        self.home = home
        self.command = command or ("-m", "tests.browser.start")
        self.port = _free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        env = os.environ | {"QLORA_UI_HOME": str(self.home), "QLORA_UI_PORT": str(self.port)}
        env |= {"QLORA_UI_MODEL_DIRS": str(self.home / "offered")}
        self.log = (self.home / "server.log").open("w")
        self.process = subprocess.Popen(
            [sys.executable, *self.command],
            cwd=ROOT, env=env, stdout=self.log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        until(self._answers, "the server did not start", seconds=60)

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def restart(self) -> None:
        self.stop()
        self.start()

    def _answers(self) -> bool:
        assert self.process.poll() is None, (self.home / "server.log").read_text("utf-8")
        try:
            with urllib.request.urlopen(self.address, timeout=5):
                return True
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    app = App(tmp_path_factory.mktemp("home"))
    yield app
    app.stop()


@pytest.fixture
def new_page(browser: Browser, app: App) -> Iterator[NewPage]:
    """`new_page(path="/", **context)`: opens the page in a browser profile of its own and waits for its
    Start button. Errors of the page's scripts fail the test."""
    contexts = []
    faults: list[str] = []

    def make(path: str = "/", **options: object) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(app.address + path)
        page.wait_for_selector("#start", state="attached")
        page.wait_for_selector("body[data-view]")
        return page

    yield make
    for context in contexts:
        context.close()
    assert not faults
