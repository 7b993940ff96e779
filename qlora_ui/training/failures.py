"""Exception → the sentence a person reads."""

import re

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
        return UserError(memory.key, **memory.values, phase=worker.phase, micro_batch=worker.micro_batch)
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
UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def out_of_memory(error: BaseException) -> UserError | None:
    """With `asked` and `free` in bytes, 0 where the error does not say; None for another error."""
    for cause in causes(error):
        text = str(cause)
        if type(cause).__name__ == "OutOfMemoryError" or GPU_MEMORY.search(text):
            asked = _bytes(r"Tried to allocate ([\d.]+) (\w+)", text)
            return UserError(
                "out_of_gpu_memory", asked=asked, free=_bytes(r"of which ([\d.]+) (\w+) is free", text)
            )
        if isinstance(cause, MemoryError) or CPU_MEMORY.search(text):
            return UserError("out_of_memory", asked=_bytes(r"tried to allocate (\d+) (bytes)", text), free=0)
    return None


def _bytes(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
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
