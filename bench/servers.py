"""The servers of the live view's bench, each in a process of its own: ours, and what it is compared with."""

import json
import multiprocessing
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from qlora_ui.jobs import JobStore
from qlora_ui.launchers.local import LocalLauncher
from qlora_ui.scheduler import Scheduler
from qlora_ui.settings import from_env


def serve_ours(home: Path, port: int, ready: Any) -> None:
    import gradio as gr

    from qlora_ui.ui.server import Server

    settings = replace(from_env({"QLORA_UI_HOME": str(home)}), port=port)
    store = JobStore(home)
    with gr.Blocks(analytics_enabled=False) as demo:
        gr.HTML("page")
    Server(demo, settings, store, Scheduler(store, LocalLauncher()))
    ready.set()
    time.sleep(3600)


def serve_baseline(home: Path, port: int, ready: Any) -> None:
    import gradio as gr
    import pandas

    path = next(path for path in home.glob("jobs/*/events.jsonl") if path.stat().st_size < 1e6)

    def tick() -> tuple[str, Any]:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        points = [(one["step"], one["values"]["loss"]) for one in lines if one["event"] == "metrics"]
        log = [f"{one['time']} {one['key']}" for one in lines if one["event"] == "log"]
        return "\n".join(log[-200:]), pandas.DataFrame(points, columns=["step", "loss"])

    with gr.Blocks(analytics_enabled=False) as demo:
        log, plot = gr.Textbox(), gr.LinePlot(x="step", y="loss")
        gr.Timer(1).tick(tick, None, [log, plot])
    demo.queue(default_concurrency_limit=None).launch(
        server_port=port, prevent_thread_lock=True, quiet=True, ssr_mode=False, run_history=False
    )
    ready.set()
    time.sleep(3600)


def serve_dataframe(home: Path, port: int, ready: Any) -> None:
    """1,000 rows in Gradio's own table, at the press of a button."""
    import gradio as gr

    columns = ["name", "state", "progress", "model", "created", "size"]
    rows = [[f"job {number}", "Finished", "1", "SmolLM2", "2026-11-24", "12 MB"] for number in range(1000)]
    with gr.Blocks(analytics_enabled=False) as demo:
        button = gr.Button("Jobs", elem_id="open")
        frame = gr.Dataframe(headers=columns, elem_id="frame")
        button.click(lambda: rows, None, frame)
    demo.launch(server_port=port, prevent_thread_lock=True, quiet=True, ssr_mode=False, run_history=False)
    ready.set()
    time.sleep(3600)


class Process:
    """A server in a process of its own, whose processor time can be read."""

    def __init__(self, target: Callable[..., None], home: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        context = multiprocessing.get_context("spawn")
        ready = context.Event()
        self.process = context.Process(target=target, args=(home, self.port, ready))
        self.process.start()
        assert ready.wait(60), "the server did not start"

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def most_memory(self) -> int:
        """Resident, in kB, so far."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0])

    def close(self) -> None:
        self.process.kill()
        self.process.join()
