"""GPUs, memory and disk of this machine, as the drivers and the kernel say; no torch. Sizes are bytes."""

import os
import re
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil


@dataclass(frozen=True, slots=True)
class Gpu:
    """One NVIDIA GPU. `index` is nvidia-smi's; `others`: what programs that are no jobs of ours hold."""

    index: int
    name: str
    total: int
    free: int
    others: int


@dataclass(frozen=True, slots=True)
class Memory:
    total: int
    available: int


def gpus(ours: Collection[int] = (), env: Mapping[str, str] = os.environ) -> list[Gpu]:
    """The GPUs that a worker may use; none without NVIDIA's driver. `ours`: pids of our own workers."""
    try:
        import pynvml  # only here: a machine without the library is a machine without such a GPU

        pynvml.nvmlInit()
    except (
        Exception
    ):  # NVMLError of many kinds; a missing or broken driver must not keep the page from starting
        return []
    try:
        handles = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
        found = [_gpu(pynvml, index, handle, ours) for index, handle in enumerate(handles)]
        uuids = [str(pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(gpu.index))) for gpu in found]
        return [found[index] for index in visible(env.get("CUDA_VISIBLE_DEVICES"), uuids)]
    except pynvml.NVMLError:
        return []
    finally:
        pynvml.nvmlShutdown()


def visible(value: str | None, uuids: list[str]) -> list[int]:
    """Indices that CUDA_VISIBLE_DEVICES lets through, in its order: all if unset; else, as CUDA reads it,
    those before the first entry that names no GPU."""
    if value is None:
        return list(range(len(uuids)))
    chosen: list[int] = []
    for entry in filter(None, map(str.strip, value.split(","))):
        if entry.isdigit():
            matches = [int(entry)] if int(entry) < len(uuids) else []
        else:
            matches = [index for index, uuid in enumerate(uuids) if uuid.startswith(entry)]
        if len(matches) != 1 or matches[0] in chosen:
            break
        chosen += matches
    return chosen


def memory() -> Memory:
    """This machine's memory, or its container's where that is less."""
    machine = psutil.virtual_memory()
    limit, used = _cgroup("memory.max"), _cgroup("memory.current")
    if not (limit.isdigit() and used.isdigit()) or int(limit) >= machine.total:
        return Memory(machine.total, machine.available)
    # What is read from files and not used just now counts as used, and is given up when it is needed.
    cached = re.search(r"^inactive_file (\d+)$", _cgroup("memory.stat"), re.MULTILINE)
    free = int(limit) - int(used) + (int(cached[1]) if cached else 0)
    return Memory(int(limit), max(0, min(machine.available, free)))


def free_disk(path: Path) -> int:
    """Bytes free for files under `path`, which need not exist yet."""
    return shutil.disk_usage(_existing(path)).free


def same_disk(one: Path, other: Path) -> bool:
    """Whether files under both share one file system."""
    return _existing(one).stat().st_dev == _existing(other).stat().st_dev


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _gpu(pynvml: Any, index: int, handle: Any, ours: Collection[int]) -> Gpu:
    name = str(pynvml.nvmlDeviceGetName(handle))
    try:
        # Version 2 counts what the driver keeps for itself apart from what programs use.
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle, pynvml.nvmlMemory_v2)
    except pynvml.NVMLError_FunctionNotFound:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    processes = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    own = sum(process.usedGpuMemory or 0 for process in processes if process.pid in ours)
    return Gpu(index, name, memory.total, memory.free, max(0, memory.used - own))


def _cgroup(name: str) -> str:
    try:
        return Path("/sys/fs/cgroup", name).read_text("ascii").strip()
    except OSError:
        return ""
