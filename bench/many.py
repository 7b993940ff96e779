"""A server with 1,000 jobs: how soon after its start it shows what is true of each; how its table opens.

`python -m bench.many`. While the page was down some workers were killed and some finished: the store does not
know of it. Baselines: an empty store; a `gr.Dataframe` with the same rows.
"""

import json
import shutil
import sqlite3
import statistics
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import httpx
from playwright.sync_api import sync_playwright

from bench.app import App
from bench.servers import Process, serve_dataframe
from bench.table import HEADER, Figure
from qlora_ui.config import TrainConfig
from qlora_ui.events import Artifact, Attempt, EventWriter, Metrics, Phase
from qlora_ui.jobs import JobState, JobStore
from qlora_ui.owner import Owner, boot_id
from qlora_ui.ui.routes import BASE

JOBS, STEPS = 1000, 100
WAITING, KILLED, FINISHED = (
    10,
    20,
    20,
)  # how the first of them stand; the others have ended, and the store knows
TIMES, STARTS = 5, 3
SETTLES = 2000  # ms after which the scripts of an open page run
LIMITED = "() => Promise.race([took, new Promise((_, late) => setTimeout(late, 30000))])"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


def make(home: Path) -> dict[str, str]:
    """What is true of each job: id → icon."""
    store, truth = JobStore(home), {}
    store.paused = True
    for number in range(JOBS):
        job = store.create(TrainConfig(name=f"job {number}"))
        folder = store.folder(job.id)
        truth[job.id] = "waiting"
        if number >= WAITING:
            ran = number - WAITING
            code = -9 if ran < KILLED or ran % 20 == 0 else 0
            leave(folder, code)
            truth[job.id] = "failed" if code else "done"
            state = (
                JobState.RUNNING
                if ran < KILLED + FINISHED
                else JobState.FAILED
                if code
                else JobState.FINISHED
            )
            known = {"handle": f"1:{folder}"} if state is JobState.RUNNING else {"ended": time.time()}
            store.move(job.id, state, [JobState.QUEUED], attempt=1, started=time.time(), **known)
    store.close()
    return truth


def leave(folder: Path, code: int) -> None:
    """What a worker leaves that has ended."""
    (folder / "owner").write_text(json.dumps(asdict(Owner(1, pid=2**22, ticks=1, boot=boot_id()))))
    writer = EventWriter(folder / "events.jsonl")
    writer.append(Attempt(1))
    writer.append(Phase("training", 0, STEPS, "steps"))
    for step in range(1, STEPS + 1):
        writer.append(Metrics(step, step / STEPS, {"loss": 1 / step, "learning_rate": 1e-4, "memory": 2e9}))
    writer.append(Artifact("adapter", "adapter", 1000, STEPS))
    writer.close()
    (folder / "adapter").mkdir()
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(b"\0" * 1000)
    (folder / "exit.1.json").write_text(json.dumps({"attempt": 1, "code": code}))


def up(home: Path, truth: dict[str, str]) -> tuple[float, App]:
    """Seconds from the start of the process until each job is shown as it is; and the app."""
    app = App(home)
    while {row["id"]: row["icon"] for row in app.rows()} != truth or not answers(app):
        assert time.monotonic() - app.began < 60, "not true within a minute"
        time.sleep(0.1)  # asked more often, it would be busy with answering
    return time.monotonic() - app.began, app


def answers(app: App) -> bool:
    try:
        return app.client.get("/").status_code == 200
    except httpx.HTTPError:
        return False


def starts(home: Path, truth: dict[str, str]) -> float:
    """The best of some: the first finds the disk's cache cold. Each finds the database as it was."""
    taken = []
    for number in range(STARTS):
        copy = home.with_name(f"{home.name}-{number}")
        shutil.copytree(home, copy)
        with sqlite3.connect(copy / "jobs.db") as db:  # handles name their folder
            db.execute("UPDATE jobs SET handle = replace(handle, ?, ?)", (str(home), str(copy)))
        seconds, app = up(copy, truth)
        app.close()
        taken.append(seconds)
        shutil.rmtree(copy)
    return min(taken)


def route(app: App) -> tuple[float, float, int]:
    """The list's answer: the first, the median of some more, and its bytes on the way."""
    taken, size = [], 0
    for _ in range(1 + TIMES):
        began = time.perf_counter()
        with app.client.stream("GET", f"{BASE}/jobs") as answer:
            size = sum(len(part) for part in answer.iter_raw())
        taken.append(time.perf_counter() - began)
    return taken[0], statistics.median(taken[1:]), size


def opens(address: str, ready: str, click: str, drawn: str) -> float:
    """Seconds from a click until `drawn` (a script's expression) is true and painted; the median of some."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    script = f"""() => {{
        window.took = new Promise((done) => document.addEventListener("click", async () => {{
            const began = performance.now();
            while (!({drawn})) await new Promise(requestAnimationFrame);
            await new Promise(requestAnimationFrame);
            await new Promise(requestAnimationFrame);
            done((performance.now() - began) / 1000);
        }}, {{ capture: true, once: true }}));
    }}"""
    taken = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        for _ in range(TIMES):
            page = browser.new_page()
            page.goto(address)
            page.wait_for_selector(ready, state="attached")
            page.wait_for_selector(click)
            page.wait_for_timeout(SETTLES)  # a click before its scripts run is lost
            page.evaluate(script)
            page.click(click)
            taken.append(page.evaluate(LIMITED))
            page.close()
        browser.close()
    return statistics.median(taken)


def figures(folder: Path) -> list[Figure]:
    JobStore(folder / "empty").close()
    none = starts(folder / "empty", {})
    truth = make(folder / "home")
    many = starts(folder / "home", truth)
    _, app = up(folder / "home", truth)
    try:
        first, again, size = route(app)
        table = opens(
            app.origin,
            "body[data-view] #jobs table",
            '#header [data-nav="jobs"]',
            "document.querySelectorAll('#jobs tbody tr').length >= 100",
        )
    finally:
        app.close()
    frame = baseline(folder)
    name = f"{JOBS:,} jobs"
    return [
        Figure(
            f"`app.py` started until the page answers and shows what is true of {name}",
            f"{many:.2f} s", "≤ 3 s", many <= 3, f"with an empty store: {none:.2f} s",
        ),
        Figure(
            f"the list of {name}, first answer", f"{first:.2f} s", "≤ 0.5 s", first <= 0.5,
            f"{size / 1000:.0f} kB",
        ),
        Figure(f"the list of {name}, later answers", f"{again:.3f} s", "≤ 0.5 s", again <= 0.5, ""),
        Figure(
            f"the table of {name} opens in the browser", f"{table:.2f} s", "≤ 0.5 s", table <= 0.5,
            f"click to painted; `gr.Dataframe`: {frame:.2f} s",
        ),
    ]  # fmt: skip


def baseline(folder: Path) -> float:
    """The same number of rows in Gradio's own table."""
    server = Process(serve_dataframe, folder)
    try:
        return opens(
            f"http://127.0.0.1:{server.port}",
            "#frame",
            "#open",
            "document.querySelector('#frame').textContent.includes('job 5')",
        )
    finally:
        server.close()


def main() -> None:
    print(f"\nA server with {JOBS:,} jobs\n\n" + HEADER)
    with tempfile.TemporaryDirectory(prefix="qlora-bench-") as folder:
        for figure in figures(Path(folder)):
            print(figure.row())


if __name__ == "__main__":
    main()
