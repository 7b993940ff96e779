"""The frozen base model: 4-bit weights through bitsandbytes, on a GPU or a CPU, and its tokenizer."""

import json
import math
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from qlora_ui.config import Quantization
from qlora_ui.errors import UserError
from qlora_ui.events import Environment

CPU_DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


def compute_dtype(device: torch.device) -> torch.dtype:
    """bf16 where the hardware itself computes with it, and faster; else fp16 on a GPU, fp32 on a CPU."""
    if device.type == "cuda":
        own = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if own else torch.float16
    able = torch.cpu.get_capabilities()
    if not (able.get("avx512_bf16") or able.get("amx_bf16")):
        return torch.float32
    # Having the instructions is no promise: one CPU multiplies with them twice as fast as in fp32, another
    # (a Xeon without AMX) half as fast.
    # In turns, best of each: with one after the other, a busy machine chose otherwise for the same config.
    best = dict.fromkeys((torch.bfloat16, torch.float32), math.inf)
    for _ in range(12):
        for dtype, seconds in best.items():
            best[dtype] = min(seconds, product_seconds(dtype))
    return torch.bfloat16 if 1.2 * best[torch.bfloat16] < best[torch.float32] else torch.float32


def kept_dtype(device: torch.device, home: Path) -> torch.dtype:
    """`compute_dtype`, on a CPU measured once and kept in the home: two jobs of one config are then alike,
    however busy the machine is at their start."""
    if device.type == "cuda":
        return compute_dtype(device)
    file, cpu = home / "cpu_dtype.json", device_name(device)
    with suppress(OSError, ValueError, KeyError, TypeError):
        return CPU_DTYPES[json.loads(file.read_bytes())[cpu]]
    dtype = compute_dtype(device)
    part = file.with_name(f"{file.name}.{os.getpid()}")
    part.write_text(json.dumps({cpu: str(dtype).removeprefix("torch.")}), "utf-8")
    part.replace(file)
    return dtype


def product_seconds(dtype: torch.dtype) -> float:
    """Of a matrix product of the size that fills a training step."""
    tokens, weights = torch.ones(512, 1024, dtype=dtype), torch.ones(1024, 1024, dtype=dtype)
    began = time.perf_counter()
    torch.nn.functional.linear(tokens, weights)
    return time.perf_counter() - began


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Raises UserError slow_tokenizer for one that cannot say where in the text a token lies."""
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    if not tokenizer.is_fast:
        raise UserError("slow_tokenizer", folder=str(folder))
    return tokenizer


def filling(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that fills bins up to equal length: for each new length oneDNN compiles anew, and where it is
    not used equal shapes cost nothing (measured in float32: 282 tokens a second with, 284 without)."""
    pad, end = tokenizer.pad_token_id, tokenizer.eos_token_id
    return int(pad if pad is not None else end or 0)


def load_base(
    folder: Path, quantization: Quantization, device: torch.device, dtype: torch.dtype
) -> PreTrainedModel:
    """The model in 4 bits, everything that is not quantised in `dtype`."""
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=dtype,
        quantization_config=BitsAndBytesConfig(**quantization.model_dump(), bnb_4bit_compute_dtype=dtype),
        device_map={"": str(device)},
        use_safetensors=True,
        trust_remote_code=False,
    )
    keep_unpacked(model)
    return model


def keep_unpacked(model: torch.nn.Module) -> None:
    """With AVX512-BF16, bitsandbytes repacks a weight in place at the first forward in eval mode; after that
    no gradient passes through it, and shapes that are no multiple of 32 × 64 raise. Keep it from that."""
    import bitsandbytes

    for module in model.modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            module.support_avx512bf16_for_cpu = False


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return str(torch.cpu.get_capabilities().get("cpu_name", "CPU"))


def memory_used(device: torch.device) -> int:
    """Bytes: the most that was allocated on a GPU, what is resident of this process on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return int(psutil.Process(os.getpid()).memory_info().rss)


def environment(
    model: Any, quantization: Quantization, device: torch.device, dtype: torch.dtype
) -> Environment:
    """What the job really runs on and with."""
    trainable, total = model.get_nb_trainable_parameters()
    return Environment(
        versions=versions(),
        device=device_name(device),
        dtype=str(dtype).removeprefix("torch."),
        quantization="nf4_double" if quantization.bnb_4bit_use_double_quant else "nf4",
        trainable_parameters=trainable,
        total_parameters=total,
        threads=torch.get_num_threads() if device.type == "cpu" else 0,
    )


def versions() -> dict[str, str]:
    """Of everything whose version changes what a job does."""
    import platform
    from importlib.metadata import version

    names = ("torch", "transformers", "peft", "trl", "bitsandbytes", "accelerate")
    found: dict[str, Any] = {"python": platform.python_version()} | {name: version(name) for name in names}
    if torch.version.cuda:
        found["cuda"] = torch.version.cuda
    return found
