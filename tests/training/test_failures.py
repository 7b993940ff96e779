"""Every failure a person will meet has a sentence of its own, which can be rendered in both languages."""

import errno
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from qlora_ui.errors import UserError
from qlora_ui.texts import LANGUAGES, error_text
from qlora_ui.training.failures import explain
from qlora_ui.training.worker import Worker


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return Worker(tmp_path, 1)


def chained(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


FULL = OSError(errno.ENOSPC, "No space left on device")
CASES = {
    "row_empty_answer passes": (
        UserError("row_empty_answer", file="a.jsonl", row=3, field="output"),
        "row_empty_answer",
    ),
    "loss": (UserError("loss_not_finite", step=7, rows="3, 4"), "loss_not_finite"),
    "gpu memory": (
        torch.OutOfMemoryError("CUDA out of memory. Tried 2 GiB"),
        "out_of_gpu_memory",
    ),
    "cpu memory": (
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you "
            "tried to allocate 9000 bytes. Error code 12 (Cannot allocate memory)"
        ),
        "out_of_memory",
    ),
    "python memory": (MemoryError(), "out_of_memory"),
    "disk": (FULL, "disk_full"),
    "disk, as safetensors says it": (
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        "disk_full",
    ),
    "disk behind another": (chained(RuntimeError("could not save"), FULL), "disk_full"),
    "remote code": (
        ValueError("Loading x requires you to execute the configuration file. set trust_remote_code=True"),
        "needs_remote_code",
    ),
    "architecture": (
        ValueError("The checkpoint has model type `z` but Transformers does not recognize this architecture"),
        "unknown_architecture",
    ),
    "target modules": (
        ValueError("Target modules {'qq'} not found in the base model. Please check"),
        "no_target_modules",
    ),
    "anything else": (KeyError("what"), "unexpected"),
}


@pytest.mark.parametrize(("error", "key"), CASES.values(), ids=CASES)
def test_it_has_a_sentence(error: Exception, key: str, worker: Worker) -> None:
    reason = explain(error, worker)
    assert reason.key == key
    for language in LANGUAGES:
        assert all(error_text(language, reason.key, reason.values))


def test_the_unexpected_is_named(worker: Worker) -> None:
    reason = explain(ZeroDivisionError("a\n  b" + "x" * 1000), worker)
    assert reason.values["kind"] == "ZeroDivisionError"
    assert reason.values["message"].startswith("a b")
    assert len(reason.values["message"]) == 300
