"""Out of memory, for real: told with its figures, ended with a code of its own, and the next attempt fits."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from qlora_ui import attempts, owner
from qlora_ui.config import TrainConfig
from qlora_ui.events import Attempt, EventReader, Failure
from qlora_ui.training import answers
from qlora_ui.training.failures import explain, out_of_memory
from qlora_ui.training.worker import Worker
from tests.training.conftest import THINGS, Run, attempt_here, job_folder

MORE = 60  # megabytes that training may take: enough for a bin of 512 tokens, too little for 16 of them
CPU = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you "
CPU += "tried to allocate 9000 bytes. Error code 12 (Cannot allocate memory)"
GPU = "CUDA out of memory. Tried to allocate 1.50 GiB. GPU 0 has a total capacity of 79.11 GiB of which "
GPU += "512.00 MiB is free. Including non-PyTorch memory, this process has 78.6 GiB memory in use."


def limited(folder: Path, attempt: int) -> int:
    """The exit code of a worker that may take only so much."""
    with (folder / "worker.log").open("ab") as log:
        return subprocess.run(
            [
                sys.executable,
                "-m",
                "tests.training.limited",
                str(MORE),
                str(folder),
                "--attempt",
                str(attempt),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
            timeout=300,
        ).returncode


def test_training_that_hits_the_limit_fits_with_a_smaller_micro_batch(
    tmp_path: Path, tiny_config: TrainConfig
) -> None:
    rows = tmp_path / "rows.jsonl"
    asked = [{"prompt": f"Where is {i}?", "completion": f"Aye, the {THINGS[i % 15]}."} for i in range(500)]
    rows.write_text("".join(json.dumps(row) + "\n" for row in asked), "utf-8")
    config = tiny_config.overridden(
        {
            "dataset.path": str(rows),
            "dataset.eval_share": 0.0,
            "batch.max_length": 512,
            "batch.rows_per_step": 4096,
            "trainer.max_steps": 1,
            "trainer.per_device_train_batch_size": 16,
        }
    )
    folder = job_folder(tmp_path, config)
    assert limited(folder, 1) == owner.EXIT_OUT_OF_MEMORY, (folder / "worker.log").read_text("utf-8")
    run = Run(folder, list(EventReader(folder / "events.jsonl").read()))
    (failure,) = run.told(Failure)
    assert failure.key == "out_of_memory"
    values = failure.values
    assert (values["phase"], values["micro_batch"]) == ("training", 16)
    assert 10_000 < values["asked"] < 10**9
    assert values["free"] <= MORE * 10**6 < values["used"]
    assert not run.curve("loss")

    assert attempts.retry(config, owner.EXIT_OUT_OF_MEMORY) == {attempts.MICRO_BATCH: 8}
    attempts.write(folder, 2, {attempts.MICRO_BATCH: 1})
    assert limited(folder, 2) == owner.EXIT_FINISHED, (folder / "worker.log").read_text("utf-8")
    run = Run(folder, list(EventReader(folder / "events.jsonl").read()))
    assert [event.number for event in run.told(Attempt)] == [1, 2]
    assert list(run.curve("loss")) == [1]
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()


@pytest.mark.parametrize(
    ("error", "key", "asked"),
    [
        (torch.OutOfMemoryError(GPU), "out_of_gpu_memory", 3 * 2**29),
        (RuntimeError("CUDA error: out of memory"), "out_of_gpu_memory", 0),
        (RuntimeError(CPU), "out_of_memory", 9000),
        (MemoryError(), "out_of_memory", 0),
        (OSError(12, "Cannot allocate memory"), "out_of_memory", 0),
    ],
)
def test_figures_are_read_from_what_the_libraries_say(
    error: Exception, key: str, asked: int, tmp_path: Path
) -> None:
    worker = Worker(tmp_path, 1)
    worker.micro_batch = 4
    worker.report("loading_model")
    reason = explain(error, worker)
    assert (reason.key, reason.values["asked"]) == (key, asked)
    assert (reason.values["phase"], reason.values["micro_batch"]) == ("loading_model", 4)
    worker.end()


def test_what_is_used_and_free_comes_from_the_driver_or_the_system() -> None:
    gpu, cpu = out_of_memory(torch.OutOfMemoryError(GPU)), out_of_memory(MemoryError())
    assert gpu and (gpu.values["free"], gpu.values["used"]) == (2**29, int(78.6 * 2**30))
    assert cpu and cpu.values["used"] > 10**8 and cpu.values["free"] > 0


def test_another_error_is_not_of_memory() -> None:
    assert out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None


def test_sample_answers_that_need_too_much_do_not_lose_the_job(
    tmp_path: Path, tiny_config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(*args: Any, **kwargs: Any) -> list[str]:
        raise torch.OutOfMemoryError(GPU)

    monkeypatch.setattr(answers, "answer", answer)
    run = attempt_here(job_folder(tmp_path, tiny_config.overridden({"trainer.max_steps": 2})), 1)
    assert run.keys[-1] == "answers_no_memory"
    assert (run.folder / "adapter" / "adapter_model.safetensors").is_file()
