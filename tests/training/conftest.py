"""A model small enough to train in a second, made on the spot, and jobs that train it for real in 4 bits."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from qlora_ui import attempts
from qlora_ui.config import Batch, Dataset, Lora, Model, TrainConfig, Trainer
from qlora_ui.events import Attempt, Event, EventReader, Log, Metrics
from qlora_ui.jobs import write_folder
from qlora_ui.training.resuming import announce, beginning
from qlora_ui.training.worker import StopRequested, Worker

sys.modules.setdefault("kernels", None)  # type: ignore[arg-type]  # as the worker does
torch.set_num_threads(1)  # the model is too small to share out
CHATML = (
    "{% for m in messages %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
THINGS = ["anchor", "barrel", "cannon", "deck", "engine", "flag", "galley", "harbour", "island", "jetty"]
THINGS += ["keel", "lantern", "mast", "net", "oar"]


def make_tokenizer(template: str | None = CHATML) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer of 400 tokens that knows the words of the tests' rows."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(
        [f"Where is the {thing}? Aye, the {thing} is below." for thing in THINGS], trainer
    )
    end = "<|im_end|>" if template else "<|endoftext|>"
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=end,
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>", "<|im_end|>"] if template else [],
    )
    fast.chat_template = template
    return fast


def make_model() -> LlamaForCausalLM:
    """Two layers of Llama with weights that are always the same; 64 wide, so that 4-bit blocks fit."""
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=400,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=512,
            initializer_range=0.1,  # logits of a head of 0.02 could never be sure of anything
            bos_token_id=0,
            eos_token_id=2,
            pad_token_id=0,
        )
    )


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    make_model().save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def rows_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 questions whose answers all follow one pattern: quickly learned."""
    path = tmp_path_factory.mktemp("data") / "rows.jsonl"
    rows = [
        {"prompt": f"Where is the {thing}{mark}", "completion": f"Aye, the {thing} is below."}
        for mark in ("?", " today?", ", sir?", " now?")
        for thing in THINGS
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.fixture(scope="session")
def tiny_config(tiny_model: Path, rows_file: Path) -> TrainConfig:
    os.environ["QLORA_UI_MODEL_DIRS"] = str(tiny_model.parent)
    return TrainConfig(
        model=Model(source="folder", name_or_path=str(tiny_model)),
        dataset=Dataset(source="file", path=str(rows_file), name="rows.jsonl", eval_share=0.1),
        lora=Lora(r=8, lora_alpha=32),
        trainer=Trainer(num_train_epochs=3, learning_rate=1e-2, eval_steps=0.05),
        batch=Batch(rows_per_step=4, max_length=128),
    )


@dataclass(frozen=True)
class Run:
    """A job's folder after a training, and what it told."""

    folder: Path
    events: list[Event]

    def told(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def metric(self, name: str) -> list[float]:
        return [event.values[name] for event in self.told(Metrics) if name in event.values]

    def curve(self, name: str) -> dict[int, float]:
        """By step, over all attempts; fails where a step was done twice on one course."""
        points: dict[int, float] = {}
        for event in self.events:
            if isinstance(event, Attempt):
                points = {step: value for step, value in points.items() if step <= event.from_step}
            elif isinstance(event, Metrics) and name in event.values:
                assert event.step not in points, f"step {event.step} twice"
                points[event.step] = event.values[name]
        return points

    @property
    def keys(self) -> list[str]:
        """Of what it logged."""
        return [event.key for event in self.told(Log)]


Start = Callable[[TrainConfig], Run]


def job_folder(home: Path, config: TrainConfig) -> Path:
    """A new job of `home`, as the store would write it."""
    number = len(list(home.glob("jobs/*")))
    folder = home / "jobs" / f"job{number}"
    write_folder(folder, config)
    return folder


@pytest.fixture(scope="session")
def train_here(tmp_path_factory: pytest.TempPathFactory) -> Start:
    """Trains in this process, as the worker does in its own."""
    home = tmp_path_factory.mktemp("home")

    def start(config: TrainConfig) -> Run:
        from qlora_ui.training.train import train

        folder = job_folder(home, config)
        worker = Worker(folder, 1)
        try:
            train(config, worker)
        finally:
            worker.end()
        return Run(folder, list(EventReader(folder / "events.jsonl").read()))

    return start


class Killed(BaseException):
    """Ends a training at once, as SIGKILL ends a process: nothing of ours sees to anything."""


class Interrupted(Worker):
    """Is stopped, or killed, at a micro-batch (counted from 1) of this attempt's training or evaluation."""

    def __init__(self, folder: Path, attempt: int, how: type[BaseException], at: int, phase: str) -> None:
        super().__init__(folder, attempt)
        self.how, self.left, self.phase_of_end = how, at, phase

    def check_stop(self) -> None:
        if self.phase == self.phase_of_end:
            self.left -= 1
            if self.left == 0:
                raise self.how


def attempt_here(
    folder: Path, number: int, how: type[BaseException] = StopRequested, at: int = 0, phase: str = "training"
) -> Run:
    """One attempt at a job, in this process, as the worker makes it; `at` 0: to the end."""
    from qlora_ui.training.train import train

    worker = Interrupted(folder, number, how, at, phase)
    config = attempts.config(folder, number)
    begins = beginning(worker, config)
    announce(worker, begins)
    try:
        train(config, worker, begins)
    except (StopRequested, Killed):
        pass
    finally:
        worker.end()
    return Run(folder, list(EventReader(folder / "events.jsonl").read()))
