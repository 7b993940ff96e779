"""What it costs to lose nothing: `python -m bench.keeping`.

Checkpoints: a job with the default settings (saved at each of ten evaluations, and every ten minutes) on the
demo model. Seconds spent saving over seconds of training, both of one run: two runs differ by more than that.
Baseline: `transformers`' own checkpoint, written at the same moments beside ours, its time taken off.
Faults: how soon the page shows that a worker was killed with SIGKILL.
"""

import json
import os
import signal
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.app import App
from bench.rows import make
from bench.table import HEADER, Figure
from qlora_ui import owner
from qlora_ui.config import Batch, Dataset, TrainConfig
from qlora_ui.folders import write_folder
from qlora_ui.jobs import JobStore
from qlora_ui.models import demo_folder

ROWS, KILLS = 96, 5


def config(folder: Path) -> TrainConfig:
    """The defaults, on rows of realistic lengths."""
    rows, _ = make(ROWS, 1)
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    dataset = Dataset(source="file", path=str(path), name="rows.jsonl")
    return TrainConfig(dataset=dataset, batch=Batch(max_length=512))


def train(home: Path, chosen: TrainConfig) -> dict[str, Any]:
    """Seconds: of training as a whole, of each of our checkpoints, of each of transformers'."""
    from qlora_ui.training.__main__ import prepare_environment

    prepare_environment()
    from transformers import Trainer

    from qlora_ui.training.checkpointing import CheckpointedTrainer
    from qlora_ui.training.resuming import announce, beginning
    from qlora_ui.training.train import train as recipe
    from qlora_ui.training.worker import Worker

    took: dict[str, list[float]] = {"ours": [], "theirs": []}
    save, run = CheckpointedTrainer.save, CheckpointedTrainer.train

    def timed_save(trainer: CheckpointedTrainer, loss: float | None = None) -> None:
        began = time.monotonic()
        save(trainer, loss)
        took["ours"].append(time.monotonic() - began)
        if loss is not None:  # once an evaluation, as `save_strategy="steps"` would
            keeps, trainer.args.output_dir = trainer.args.output_dir, str(home / "theirs")
            began = time.monotonic()
            Trainer._save_checkpoint(trainer, trainer.model, None)
            took["theirs"].append(time.monotonic() - began)
            trainer.args.output_dir = keeps

    def timed_run(trainer: CheckpointedTrainer, *args: Any, **kwargs: Any) -> Any:
        began = time.monotonic()
        result = run(trainer, *args, **kwargs)
        took["training"] = [time.monotonic() - began - sum(took["theirs"])]
        return result

    CheckpointedTrainer.save, CheckpointedTrainer.train = timed_save, timed_run  # type: ignore[method-assign]
    job = home / "jobs" / "job"
    write_folder(job, chosen)
    worker = Worker(job, 1)
    begins = beginning(worker, chosen)
    announce(worker, begins)
    recipe(chosen, worker, begins)
    worker.end()
    return took


def checkpoints(took: dict[str, Any]) -> list[Figure]:
    (training,), ours, theirs = took["training"], took["ours"], took["theirs"]
    share, other = sum(ours) / training, sum(theirs) / (training - sum(ours) + sum(theirs))
    return [
        Figure(
            "checkpoints, share of the training's time", f"{100 * share:.2f} %", "≤ 2 %", share <= 0.02,
            f"{len(theirs)} in {training:.0f} s; transformers' own: {100 * other:.2f} %",
        ),
        Figure(
            "one checkpoint", f"{sum(ours) / len(theirs):.2f} s", "", None,
            f"flushed, with checksums; transformers' own, with neither: {statistics.mean(theirs):.2f} s",
        ),
    ]  # fmt: skip


def noticed(home: Path, chosen: TrainConfig) -> list[float]:
    """Seconds from SIGKILL of a worker until the page shows the job as failed."""
    store = JobStore(home)
    job = store.create(chosen)
    folder = store.folder(job.id)
    store.close()
    app, taken = App(home), []

    def until(icon: str) -> None:
        deadline = time.monotonic() + 60
        while [row["icon"] for row in app.rows()] != [icon]:
            assert time.monotonic() < deadline, f"not {icon} within a minute"
            time.sleep(0.02)

    try:
        for attempt in range(1, KILLS + 1):
            until("busy")
            while (claimed := owner.read(folder)) is None or claimed.attempt < attempt:
                time.sleep(0.02)
            time.sleep(2 + attempt / KILLS)  # at another moment between two ticks each time
            os.kill(claimed.pid, signal.SIGKILL)
            began = time.monotonic()
            until("failed")
            taken.append(time.monotonic() - began)
            if attempt < KILLS:
                app.post(f"jobs/{job.id}/resume")
    finally:
        app.close()
    return taken


def main() -> None:
    from bench.training import make_model

    model = make_model()
    with tempfile.TemporaryDirectory(prefix="qlora-bench-") as temporary:
        folder = Path(temporary)
        chosen = config(folder)
        for name in ("home", "killed"):
            (folder / name / "models").mkdir(parents=True)
            demo_folder(folder / name).symlink_to(model)
        print("\nNothing is lost\n\n" + HEADER, flush=True)
        taken = noticed(folder / "killed", chosen)
        said = ", ".join(f"{seconds:.1f}" for seconds in taken)
        most = max(taken)
        print(Figure("a killed worker is shown as such", f"{most:.1f} s", "≤ 5 s", most <= 5, said).row())
        for figure in checkpoints(train(folder / "home", chosen)):
            print(figure.row())


if __name__ == "__main__":
    main()
