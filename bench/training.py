"""Figures of training: `python -m bench.training [--rows 96] [--only NAME …]`.

Each contender runs in a process of its own, one after the other, on the demo model. With LLAMA_FACTORY_BIN
set to the bin folder of an environment with LLaMA-Factory 0.9.5, that runs too.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.rows import make
from qlora_ui.config import TrainConfig
from qlora_ui.events import EventReader, Metrics, Phase
from qlora_ui.jobs import write_folder
from qlora_ui.models import demo_folder
from qlora_ui.presets import demo_config
from qlora_ui.settings import from_env

HELD_OUT = 24
NAMES = ("trl-example", "trl-packing", "llama-factory", "ours")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--only", nargs="+", choices=NAMES)
    arguments = parser.parse_args()
    names = arguments.only or [
        n for n in NAMES if n != "llama-factory" or os.environ.get("LLAMA_FACTORY_BIN")
    ]
    with tempfile.TemporaryDirectory(prefix="qlora-bench-") as temporary:
        folder = Path(temporary)
        model = make_model()
        (folder / "model").symlink_to(model)
        start_figures(folder)
        train, held_out = make(arguments.rows, HELD_OUT)
        for name, rows in (("train", train), ("eval", held_out)):
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        print(f"\nTraining: {arguments.rows} rows, demo model, {os.cpu_count()} threads")
        results = {name: run(name, folder) for name in names}
    table(results)


def make_model() -> Path:
    """The demo model's folder, made in the server's own home if it is not there."""
    from qlora_ui.training.demo_model import make_demo_model

    home = from_env().home
    return (
        make_demo_model(home, lambda *_: None, lambda: False)
        if not demo_folder(home).exists()
        else demo_folder(home)
    )


def start_figures(folder: Path) -> None:
    """From Start to the first training step, twice: the first run may find the disk's cache cold."""
    config = demo_config()
    config = config.model_copy(update={"trainer": config.trainer.model_copy(update={"max_steps": 1})})
    for number in range(2):
        began, moments = time.time(), start_once(folder, f"start{number}", config)
        libraries = moments["reading_data"] - began
        ready, first = moments["training"] - began, moments["step 1"] - began
        print(
            f"Start, run {number + 1}: {libraries:.1f} s until the libraries are imported; beyond that "
            f"{ready - libraries:.1f} s to the first step's begin, {first - libraries:.1f} s to its end"
        )


def start_once(folder: Path, name: str, config: TrainConfig) -> dict[str, float]:
    """Seconds since the epoch at which each phase began, and at which step 1 was done."""
    home = folder / "home"
    demo_folder(home).parent.mkdir(parents=True, exist_ok=True)
    if not demo_folder(home).exists():
        demo_folder(home).symlink_to(folder / "model")
    job = home / "jobs" / name
    write_folder(job, config)
    with (job / "worker.log").open("wb") as log:
        command = [sys.executable, "-m", "qlora_ui.training", str(job), "--attempt", "1"]
        subprocess.run(command, check=True, stdout=log, stderr=log)
    moments: dict[str, float] = {}
    for event in EventReader(job / "events.jsonl").read():
        if isinstance(event, Phase):
            moments.setdefault(event.name, event.time)
        if isinstance(event, Metrics):
            moments.setdefault(f"step {event.step}", event.time)
    return moments


def run(name: str, folder: Path) -> dict[str, float]:
    with (folder / f"{name}.log").open("wb") as log:
        done = subprocess.run(
            [sys.executable, "-m", "bench.contenders", name, str(folder)], stdout=log, stderr=log
        )
    if done.returncode:
        sys.exit(f"{name} failed:\n" + (folder / f"{name}.log").read_text("utf-8", "replace")[-4000:])
    result: dict[str, float] = json.loads((folder / f"{name}.json").read_text("utf-8"))
    print(f"  {name}: {result['seconds']:.0f} s", flush=True)
    return result


def table(results: dict[str, dict[str, float]]) -> None:
    print(f"\n{'':16}{'tokens/s':>10}{'ours is':>10}{'peak GB':>10}{'eval loss':>11}{'ours is':>10}")
    ours = results.get("ours")
    for name, result in results.items():
        faster = f"{result['seconds'] / ours['seconds']:.2f}×" if ours else ""
        apart = f"{100 * (ours['loss'] / result['loss'] - 1):+.1f} %" if ours else ""
        speed, peak = result["tokens"] / result["seconds"], result["peak"] / 1e9
        print(f"{name:16}{speed:10.0f}{faster:>10}{peak:10.2f}{result['loss']:11.3f}{apart:>10}")


if __name__ == "__main__":
    main()
