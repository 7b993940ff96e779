"""What the machine has, with and without NVIDIA's library (which is played by a module here)."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from qlora_ui import hardware
from qlora_ui.hardware import Gpu

UUIDS = ["GPU-aaa1", "GPU-aaa2", "GPU-bbb"]


@pytest.mark.parametrize(
    ("value", "indices"),
    [
        (None, [0, 1, 2]), ("", []), ("1", [1]), ("2, 0", [2, 0]), ("GPU-b", [2]), ("GPU-aaa2,0", [1, 0]),
        ("0,7,1", [0]), ("GPU-aaa", []), ("-1", []), ("1,1", [1]),
    ],
)  # fmt: skip
def test_visible_as_cuda_reads_it(value: str | None, indices: list[int]) -> None:
    assert hardware.visible(value, UUIDS) == indices


class NVMLError(Exception):
    pass


class FunctionNotFound(NVMLError):
    pass


def library(old: bool = False) -> ModuleType:
    """pynvml over three cards of 80 GB, 10 used, 4 of them by process 77; `old`: knows no version 2."""

    def memory(handle: int, version: int = 0) -> SimpleNamespace:
        if version and old:
            raise FunctionNotFound
        return SimpleNamespace(total=80, free=70, used=10)

    module = ModuleType("pynvml")
    vars(module).update(
        NVMLError=NVMLError,
        NVMLError_FunctionNotFound=FunctionNotFound,
        nvmlMemory_v2=2,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: 3,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetUUID=lambda handle: UUIDS[handle],
        nvmlDeviceGetName=lambda handle: "NVIDIA Test",
        nvmlDeviceGetMemoryInfo=memory,
        nvmlDeviceGetComputeRunningProcesses=lambda handle: [SimpleNamespace(pid=77, usedGpuMemory=4)],
    )
    return module


@pytest.mark.parametrize("old", [False, True])
def test_gpus(monkeypatch: pytest.MonkeyPatch, old: bool) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", library(old))
    assert hardware.gpus(env={"CUDA_VISIBLE_DEVICES": "1"}) == [Gpu(1, "NVIDIA Test", 80, 70, others=10)]
    assert [gpu.others for gpu in hardware.gpus(ours=[77], env={})] == [6, 6, 6]


def test_no_library_and_no_driver_are_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert hardware.gpus() == []
    broken = library()

    def no_driver() -> None:
        raise NVMLError

    vars(broken)["nvmlInit"] = no_driver
    monkeypatch.setitem(sys.modules, "pynvml", broken)
    assert hardware.gpus() == []


def test_memory_of_a_container(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = hardware.memory()
    assert 0 < machine.available <= machine.total
    group = {"memory.max": "1000", "memory.current": "300", "memory.stat": "anon 1\ninactive_file 50\nx 2"}
    monkeypatch.setattr(hardware, "_cgroup", group.__getitem__)
    assert hardware.memory() == hardware.Memory(1000, 750)
    group["memory.max"] = "max"
    assert hardware.memory().total == machine.total


def test_free_disk_of_a_folder_to_be(tmp_path: Path) -> None:
    assert hardware.free_disk(tmp_path / "not" / "yet") == pytest.approx(
        hardware.free_disk(tmp_path), rel=0.1
    )
