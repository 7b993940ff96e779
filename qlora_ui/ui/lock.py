"""The lock that keeps the strength (alpha/r, with rsLoRA alpha/√r) while r moves."""

import math
from typing import Any

MOST_ALPHA = 2048  # the bound of `lora.lora_alpha`; a test holds the two together


def held_strength(locked: bool, r: Any, lora_alpha: Any, use_rslora: bool) -> float:
    """The strength to keep from now on; 0 while nothing is locked or a box holds no number."""
    if not locked or not _number(r) or not _number(lora_alpha):
        return 0.0
    return float(lora_alpha / (math.sqrt(r) if use_rslora else r))


def alpha_that_keeps(strength: float, r: Any, use_rslora: bool) -> int | None:
    """The whole lora_alpha nearest to the kept strength; None where there is nothing to keep."""
    if not strength or not _number(r):
        return None
    return min(MOST_ALPHA, max(1, round(strength * (math.sqrt(r) if use_rslora else r))))


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and value > 0
