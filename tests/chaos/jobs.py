"""Short real jobs: a model made on the spot, trained in 4 bits on one thread; and a run nobody disturbs."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from qlora_ui.config import Batch, Dataset, Keep, Lora, Model, TrainConfig, Trainer
from qlora_ui.folders import write_folder
from qlora_ui.launchers.local import ROOT

MAKE = """
import sys
from pathlib import Path
import torch
from qlora_ui.training.base_model import kept_dtype
from tests.training.conftest import make_model, make_tokenizer
for made in (make_model(), make_tokenizer()):
    made.save_pretrained(Path(sys.argv[1]))
kept_dtype(torch.device("cpu"), Path(sys.argv[2]))
"""
EPOCHS = 12  # some five seconds
THINGS = ("anchor", "barrel", "cannon", "deck", "engine", "flag", "galley", "harbour", "island", "jetty")


def make_model(folder: Path, homes: Sequence[Path]) -> Path:
    """In a process of its own: this one stays without torch. Decides for all homes in what they compute."""
    first, *others = homes
    first.mkdir(exist_ok=True)
    command = [sys.executable, "-W", "ignore", "-c", MAKE, str(folder / "tiny"), str(first)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    for other in others:
        shutil.copy(first / "cpu_dtype.json", other)
    return folder / "tiny"


def make_configs(folder: Path, homes: Sequence[Path]) -> list[TrainConfig]:
    """Jobs that differ in what a resume must get right: seed, the dice of dropout, when they are saved."""
    rows = folder / "rows.jsonl"
    marks = ("?", " today?", ", sir?", " now?", " this morning?")
    with rows.open("w") as file:
        for number, (mark, thing) in enumerate((mark, thing) for mark in marks for thing in THINGS):
            row = {"prompt": f"Where is the {thing}{mark}", "completion": f"Aye, below, {number} feet."}
            file.write(json.dumps(row) + "\n")
    base = TrainConfig(
        model=Model(source="folder", name_or_path=str(make_model(folder, homes))),
        dataset=Dataset(source="file", path=str(rows), name="rows.jsonl", eval_share=0.1),
        batch=Batch(rows_per_step=4, max_length=64),
    )
    trainers = [
        Trainer(num_train_epochs=EPOCHS, learning_rate=1e-3, eval_steps=0.1, seed=seed) for seed in (1, 2, 3)
    ]
    return [
        base.model_copy(update={"name": "plain", "trainer": trainers[0]}),
        base.model_copy(update={"name": "dropout", "trainer": trainers[1], "lora": Lora(lora_dropout=0.1)}),
        base.model_copy(
            update={"name": "by the clock", "trainer": trainers[2], "keep": Keep(checkpoint_minutes=0.01)}
        ),
    ]


def train_undisturbed(config: TrainConfig, home: Path, env: dict[str, str]) -> Path:
    """The folder of a job that the worker trained from begin to end."""
    job = home / "jobs" / config.name.replace(" ", "-")
    write_folder(job, config)
    with (job / "worker.log").open("wb") as log:
        command = [sys.executable, "-m", "qlora_ui.training", str(job), "--attempt", "1"]
        subprocess.run(command, cwd=ROOT, check=True, stdout=log, stderr=log, env=env)
    return job
