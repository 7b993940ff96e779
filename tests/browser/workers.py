"""Jobs for the browser tests: real worker processes (`tests.browser.keeper`) in the server's home, which the
scheduler finds as it finds those of `python -m qlora_ui train`."""

import json
import os
import secrets
import signal
import urllib.request
from collections.abc import Iterable
from pathlib import Path

from qlora_ui import owner
from qlora_ui.config import TrainConfig
from qlora_ui.events import Event, EventWriter
from qlora_ui.folders import write_folder
from qlora_ui.launchers.local import LocalLauncher
from tests.browser.conftest import App
from tests.waiting import until

WAITS = ("wait", "keep")


class Worked:
    """One job: what its worker does is said by the config's name (`wait`, `finish`, `fail`; `keep`, `memory`:
    `keeper.py`)."""

    def __init__(self, app: App, does: str, events: Iterable[Event] = ()) -> None:
        self.app = app
        self.id = secrets.token_hex(5)
        self.folder: Path = app.home / "jobs" / self.id
        write_folder(self.folder, TrainConfig(name=does))
        launcher = LocalLauncher("tests.browser.keeper")
        handle = launcher.submit(self.folder, 1, {})
        if does not in WAITS:
            until(lambda: launcher.poll([handle])[handle].code is not None)
        self.write(*events)
        until(lambda: self.row(), "the scheduler did not find the job")

    def write(self, *events: Event) -> None:
        """As its worker would."""
        writer = EventWriter(self.folder / "events.jsonl")
        for event in events:
            writer.append(event)
        writer.close()

    def row(self) -> dict[str, object] | None:
        """The job as the list of the server has it, in English."""
        with urllib.request.urlopen(
            f"{self.app.address}/gradio_api/qlora/jobs?lang=en", timeout=10
        ) as answer:
            jobs = json.load(answer)["jobs"]
        return next((job for job in jobs if job["id"] == self.id), None)

    def kill(self) -> None:
        """As the kernel kills a worker."""
        owned = owner.read(self.folder)
        assert owned is not None
        os.kill(owned.pid, signal.SIGKILL)

    def end(self) -> None:
        """Let a waiting worker finish; wait for its end."""
        (self.folder / "go").touch()
        until(lambda: not (row := self.row()) or row["ended"])
