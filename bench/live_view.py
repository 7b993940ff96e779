"""The live view in figures: bytes of an update, cost of 50 open pages, opening a job of 100,000 steps.

`python -m bench.live_view`. The baseline, in the same run and on the same events, is a page as most Gradio
trainers have it: `gr.Timer` with a `gr.LinePlot` and a `gr.Textbox` that read the whole file at each tick.
"""

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from bench.servers import Process, serve_baseline, serve_ours
from qlora_ui.config import TrainConfig
from qlora_ui.events import Attempt, EventWriter, Log, Metrics, Phase
from qlora_ui.jobs import JobState, JobStore
from qlora_ui.ui.follow import Followed
from qlora_ui.ui.routes import BASE

SHORT, LONG = 400, 100_000  # steps
SECONDS = 15  # a measurement
Row = tuple[str, str, str]  # name, value, goal
HEADERS = {"user-agent": "Mozilla/5.0 (X11; Linux x86_64) Chrome/156", "accept": "text/event-stream"}


def step(number: int) -> Metrics:
    """What the worker logs at one step."""
    return Metrics(
        number,
        number / 1000,
        {
            "loss": 1 + 1 / number + (number % 7) / 100,
            "learning_rate": 2e-4 / number,
            "grad_norm": 0.3 + (number % 11) / 100,
            "tokens_per_second": 498.123 + number % 5,
            "memory": 2.6e9 + number,
        },
    )


def write(path: Path, first: int, last: int) -> None:
    writer = EventWriter(path)
    for number in range(first, last + 1):
        writer.append(step(number))
    writer.close()


def make_home(home: Path) -> dict[int, str]:
    """Two running jobs: one of 400 steps, one of 100,000. Nothing trains: the events are what is measured."""
    store, ids = JobStore(home), {}
    for steps in (SHORT, LONG):
        job = store.create(TrainConfig(name=f"{steps} steps"))
        store.move(job.id, JobState.RUNNING, [JobState.QUEUED])
        path = store.folder(job.id) / "events.jsonl"
        writer = EventWriter(path)
        writer.append(Attempt(1))
        writer.append(Phase("training", 0, 10 * steps, "steps"))
        writer.close()
        write(path, 1, steps)
        ids[steps] = job.id
    store.close()
    return ids


async def listen(port: int, job_id: str, counts: list[int], opened: list[float]) -> None:
    """One page: counts bytes as they come over the wire (headers of chunks too) and the updates in them."""
    begun = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
    writer.write(
        f"GET {BASE}/jobs/{job_id}/events?lang=zh HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n{head}\r\n".encode()
    )
    while b'"bar"' not in await reader.readuntil(b"\n\n"):
        pass
    opened.append(time.perf_counter() - begun)
    try:
        while True:
            data = await reader.read(65536)
            counts[0] += len(data)
            counts[1] += data.count(b"data: ")
    finally:
        writer.close()


async def tick_baseline(port: int, counts: list[int]) -> None:
    """One page of the baseline: what Gradio's client sends at each tick of a Timer, and reads."""
    session = f"bench{id(counts)}{time.monotonic_ns()}"
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:
        while True:
            due = time.monotonic() + 1
            body = {"data": [], "fn_index": 0, "session_hash": session, "event_data": None, "trigger_id": 1}
            answer = await client.post("/gradio_api/queue/join", json=body)
            counts[0] += len(answer.content) + len(str(answer.headers))
            async with client.stream(
                "GET", "/gradio_api/queue/data", params={"session_hash": session}
            ) as stream:
                counts[0] += len(str(stream.headers))
                async for line in stream.aiter_lines():
                    counts[0] += len(line.encode()) + 1
                    if '"process_completed"' in line:
                        counts[1] += 1
                    if '"close_stream"' in line:
                        break
            await asyncio.sleep(max(0, due - time.monotonic()))


async def measure(server: Process, pages: list[Any], path: Path, first: int) -> float:
    """Processor time, in % of a core, while the pages are open and a step is logged each second."""
    tasks = [asyncio.create_task(page) for page in pages]
    await asyncio.sleep(4)
    begun, before = time.perf_counter(), server.cpu()
    for number in range(first, first + SECONDS):
        await asyncio.to_thread(write, path, number, number)
        if number % 2:
            await asyncio.to_thread(log, path, number)
        await asyncio.sleep(1)
    used = 100 * (server.cpu() - before) / (time.perf_counter() - begun)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return used


def log(path: Path, number: int) -> None:
    writer = EventWriter(path)
    writer.append(Log("saved", {"step": number}))
    writer.close()


def ours(home: Path, ids: dict[int, str], rows: list[Row]) -> None:
    server = Process(serve_ours, home)
    try:
        time.sleep(3)  # its start is over
        before = server.cpu()
        time.sleep(SECONDS / 2)
        rows.append(
            (
                "server, no page (Gradio's own)",
                f"{200 * (server.cpu() - before) / SECONDS:.1f} % of a core",
                "",
            )
        )
        for steps, job_id in ids.items():
            rows.append(
                (f"open a job of {steps:,} steps, never read before", opening(server, job_id), "≤ 1 s")
            )
            rows.append((f"open a job of {steps:,} steps again", opening(server, job_id), ""))
            path = home / "jobs" / job_id / "events.jsonl"
            for pages in (1, 50):
                counts = [0, 0]
                page = [listen(server.port, job_id, counts, []) for _ in range(pages)]
                used = asyncio.run(measure(server, page, path, steps + 1000 * pages))
                if pages == 1:
                    rows.append(
                        (f"bytes of an update, {steps:,} steps", f"{counts[0] / counts[1]:.0f}", "≤ 400")
                    )
                name = f"server, {pages} page{'s' * (pages > 1)}, {steps:,} steps"
                rows.append((name, f"{used:.1f} % of a core", "≤ 5 %" if pages > 1 else ""))
        rows.append(("most memory of the server", f"{server.most_memory() / 1000:.0f} MB", ""))
    finally:
        server.close()


def opening(server: Process, job_id: str) -> str:
    """How long until everything is there, and the processor time of it: the machine may be busy."""
    before = server.cpu()
    opened: list[float] = []

    async def page() -> None:
        task = asyncio.create_task(listen(server.port, job_id, [0, 0], opened))
        while not opened:
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(page())
    return f"{opened[0]:.2f} s ({server.cpu() - before:.2f} s CPU)"


def rereading(home: Path, ids: dict[int, str], rows: list[Row]) -> None:
    """One update of a long job, in this process: by its new line, and by reading all again."""
    followed = Followed(home / "jobs" / ids[LONG] / "events.jsonl")
    for name in ("by reading all again (baseline)", "by its new line"):
        write(followed.path, 5 * LONG, 5 * LONG)
        begun = time.process_time()
        followed.read()
        rows.append(
            (f"an update of {LONG:,} steps {name}", f"{1000 * (time.process_time() - begun):.1f} ms CPU", "")
        )


def baseline(home: Path, ids: dict[int, str], rows: list[Row]) -> None:
    server = Process(serve_baseline, home)
    path = home / "jobs" / ids[SHORT] / "events.jsonl"
    try:
        for pages in (1, 50):
            counts = [0, 0]
            used = asyncio.run(
                measure(
                    server, [tick_baseline(server.port, counts) for _ in range(pages)], path, 90_000 + pages
                )
            )
            rows.append(
                (
                    f"baseline (Timer + LinePlot), {pages} page{'s' * (pages > 1)}, {SHORT} steps",
                    f"{used:.1f} % of a core",
                    "",
                )
            )
            rows.append(
                (
                    "bytes of an update of the baseline, its answers only",
                    f"{counts[0] / max(1, counts[1]):.0f}",
                    "",
                )
            )
    finally:
        server.close()


def main() -> None:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        ids = make_home(home)
        ours(home, ids, rows)
        baseline(home, ids, rows)
        rereading(home, ids, rows)
    width = max(len(name) for name, _, _ in rows)
    for name, value, goal in rows:
        print(f"{name:<{width}}  {value:>18}  {goal}")


if __name__ == "__main__":
    main()
