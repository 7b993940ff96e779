"""An adapter's weights, to and from safetensors under PEFT's names."""

import json
from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model_state_dict, set_peft_model_state_dict
from peft.utils import SAFETENSORS_WEIGHTS_NAME as FILE
from safetensors.torch import load_file, save_file

from qlora_ui.errors import UserError


def write_weights(model: Any, folder: Path) -> None:
    """Into `folder`, in float32 as they are trained."""
    weights = get_peft_model_state_dict(model, save_embedding_layers=False)
    save_file({name: weight.detach().cpu().contiguous() for name, weight in weights.items()}, folder / FILE)


def read_weights(model: Any, folder: Path, scale: float = 1.0) -> None:
    """Into the model, which keeps its own dtype (float32). `scale` multiplies what the adapter adds.

    Raises UserError adapter_does_not_fit where the layers or their ranks are others.
    """
    own = get_peft_model_state_dict(model, save_embedding_layers=False)
    found = load_file(folder / FILE)
    if {name: weight.shape for name, weight in own.items()} != {
        name: weight.shape for name, weight in found.items()
    }:
        raise UserError("adapter_does_not_fit", folder=str(folder))
    if scale != 1.0:
        found = {name: weight * scale if "lora_B" in name else weight for name, weight in found.items()}
    with torch.no_grad():
        set_peft_model_state_dict(model, found)


def start_from(model: Any, folder: Path) -> None:
    """The adapter in `folder`, a PEFT folder, into a model that may scale it otherwise: it answers as before.

    Raises UserError adapter_does_not_fit.
    """
    config = json.loads((folder / "adapter_config.json").read_bytes())
    root = config["r"] ** 0.5 if config.get("use_rslora") else config["r"]
    layer = next(module for module in model.modules() if hasattr(module, "lora_A"))
    read_weights(model, folder, config["lora_alpha"] / root / layer.scaling["default"])
