"""Exception → the sentence a person reads."""

import re
import resource

import psutil

from qlora_ui import hardware
from qlora_ui.errors import UserError
from qlora_ui.training.hub_errors import unreachable
from qlora_ui.training.worker import Worker, causes, disk_full


def explain(error: BaseException, worker: Worker) -> UserError:
    """What happened, as key and values of a UserError; `unexpected` for what nobody foresaw."""
    if isinstance(error, UserError):
        return error
    if disk_full(error):
        return UserError("disk_full", folder=str(worker.folder))
    memory = out_of_memory(error)
    if memory is not None:
        where = {"phase": worker.phase, "micro_batch": worker.micro_batch}
        return UserError(memory.key, **memory.values, **where)
    for recognise in (unreachable, _model):
        reason = recognise(error)
        if reason is not None:
            return reason
    return UserError("unexpected", kind=type(error).__name__, message=_short(error))


OUT_OF_MEMORY = ("out_of_gpu_memory", "out_of_memory")
GPU_MEMORY = re.compile(r"CUDA (error: )?out of memory|(CUBLAS|CUDNN)_STATUS_ALLOC_FAILED")
# torch's allocator, the system's own words, and oneDNN's, which has no more to say
CPU_MEMORY = re.compile(
    r"DefaultCPUAllocator|Cannot allocate memory|could not create a memory|failed to allocate|"
    r"std::bad_alloc|can't start new thread"
)
CUDA_SIZES = {
    "asked": r"Tried to allocate ([\d.]+) (\w+)",
    "free": r"of which ([\d.]+) (\w+) is free",
    "used": r"this process has ([\d.]+) (\w+) memory in use",
}
UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def out_of_memory(error: BaseException) -> UserError | None:
    """With `asked`, `free` and `used` in bytes, 0 where nobody says; None for another error."""
    for cause in causes(error):
        text = str(cause)
        if type(cause).__name__ == "OutOfMemoryError" or GPU_MEMORY.search(text):
            sizes = {name: _bytes(pattern, text) for name, pattern in CUDA_SIZES.items()}
            return UserError("out_of_gpu_memory", **sizes)
        if isinstance(cause, MemoryError) or CPU_MEMORY.search(text):
            asked = _bytes(r"tried to allocate (\d+) (bytes)", text)
            return UserError("out_of_memory", asked=asked, **_process())
    return None


def _process() -> dict[str, int]:
    """What this process holds, and what it could still get: of the machine, and of a limit of its own."""
    now = psutil.Process().memory_info()
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    free = hardware.memory().available
    if limit != resource.RLIM_INFINITY:
        free = min(free, max(0, limit - now.vms))
    return {"used": now.rss, "free": free}


def _bytes(pattern: str, text: str) -> int:
    found = re.search(pattern, text, re.IGNORECASE)
    return int(float(found[1]) * UNITS.get(found[2], 1)) if found else 0


MODEL_ERRORS: tuple[tuple[str, str], ...] = (
    (r"trust_remote_code|contains custom code", "needs_remote_code"),
    (
        r"does not recognize this architecture|Unrecognized (configuration class|model)",
        "unknown_architecture",
    ),
    (r"no file named .*safetensors|use_safetensors", "no_safetensors"),
    (r"already (been )?quantized|quantization_config.*quantized", "already_quantised"),
    (r"Target modules .* not found in the base model", "no_target_modules"),
)


def _model(error: BaseException) -> UserError | None:
    text = str(error)
    for pattern, key in MODEL_ERRORS:
        if re.search(pattern, text, re.DOTALL):
            return UserError(key, message=_short(error))
    return None


def _short(error: BaseException) -> str:
    """An error's own words, in one line that fits a page."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:299] + "…"
