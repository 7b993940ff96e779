"""The page as a process: from `import gradio` done to ready, its memory when idle, and no torch in it."""

import os
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import psutil

from bench.table import HEADER, Figure, free_port

ROOT = Path(__file__).parents[1]
RUNS = 4
# The lines of `app.py`, with a clock: gradio's own import is not ours to make faster.
CHILD = """
import time
began = time.monotonic()
import gradio
imported = time.monotonic()
import sys
from qlora_ui.jobs import open_store
from qlora_ui.launchers import LAUNCHERS
from qlora_ui.scheduler import Scheduler
from qlora_ui.settings import from_env
from qlora_ui.ui.server import serve
def opened(address):
    ready = time.monotonic()
    heavy = {"torch", "transformers", "peft", "datasets"} & set(sys.modules)
    print(imported - began, ready - imported, *heavy, flush=True)
settings = from_env()
with open_store(settings.home) as store:
    scheduler = Scheduler(store, LAUNCHERS["local"]())
    scheduler.start()
    serve(settings, store, scheduler, opened)
    scheduler.close()
"""


def start() -> tuple[float, float, list[str], float]:
    """Seconds of `import gradio`, seconds from then to ready, training libraries loaded, idle MB."""
    with tempfile.TemporaryDirectory() as home:
        port = free_port()
        env = os.environ | {"QLORA_UI_HOME": home, "QLORA_UI_PORT": str(port)}
        with subprocess.Popen(
            [sys.executable, "-c", CHILD], cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            gradio, ready, *heavy = process.stdout.readline().split()
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
                assert answer.status == 200
            memory = psutil.Process(process.pid).memory_info().rss / 1e6
            process.terminate()
        return float(gradio), float(ready), heavy, memory


def cold() -> bool:
    """Empty the machine's file cache, where that is allowed."""
    try:
        os.sync()
        Path("/proc/sys/vm/drop_caches").write_text("3")
    except OSError:
        return False
    return True


def figures() -> list[Figure]:
    emptied = cold()
    first = start()
    warm = min((start() for _ in range(RUNS)), key=lambda run: run[1])
    name = "page ready after `import gradio`"
    note = f"import gradio itself: {warm[0]:.1f} s"
    return [
        Figure(f"{name}, warm", f"{warm[1]:.2f} s", "≤ 1.0 s", warm[1] <= 1.0, note),
        Figure(
            f"{name}, cold" if emptied else f"{name}, first start", f"{first[1]:.2f} s", "", None,
            f"import gradio itself: {first[0]:.1f} s",
        ),
        Figure("page process idle after one visit", f"{warm[3]:.0f} MB", "≤ 200 MB", warm[3] <= 200, ""),
        Figure("training libraries in it", " ".join(warm[2]) or "none", "none", not warm[2], ""),
    ]  # fmt: skip


def main() -> None:
    print("\nThe page's process\n\n" + HEADER)
    for figure in figures():
        print(figure.row())


if __name__ == "__main__":
    main()
