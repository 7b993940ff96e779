"""What a model's config.json tells before its weights are fetched or read."""

import json
from pathlib import Path

from qlora_ui.errors import UserError


def check_config(path: Path) -> None:
    """Raises UserError already_quantised, needs_remote_code, unknown_architecture."""
    from transformers import CONFIG_MAPPING

    config = json.loads(path.read_bytes())
    quantised = config.get("quantization_config")
    if quantised is not None:
        raise UserError(
            "already_quantised", message=str(quantised.get("quant_method", "quantization_config"))
        )
    kind = str(config.get("model_type", ""))
    if kind in CONFIG_MAPPING:  # of the library: an auto_map beside it is for older versions
        return
    if "auto_map" in config:
        raise UserError("needs_remote_code")
    raise UserError("unknown_architecture", message=f"model_type {kind!r}")
