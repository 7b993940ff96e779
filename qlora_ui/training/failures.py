"""Exception → the sentence a person reads."""

import re

from qlora_ui.errors import UserError
from qlora_ui.training.hub_errors import unreachable
from qlora_ui.training.worker import Worker, disk_full


def explain(error: BaseException, worker: Worker) -> UserError:
    """What happened, as key and values of a UserError; `unexpected` for what nobody foresaw."""
    if isinstance(error, UserError):
        return error
    if disk_full(error):
        return UserError("disk_full", folder=str(worker.folder))
    for recognise in (_memory, unreachable, _model):
        reason = recognise(error)
        if reason is not None:
            return reason
    return UserError("unexpected", kind=type(error).__name__, message=_short(error))


def _memory(error: BaseException) -> UserError | None:
    text = str(error)
    if type(error).__name__ == "OutOfMemoryError" or "CUDA out of memory" in text:
        return UserError("out_of_gpu_memory")
    if isinstance(error, MemoryError) or "DefaultCPUAllocator: can't allocate memory" in text:
        return UserError("out_of_memory")
    return None


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
