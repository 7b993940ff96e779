"""What an attempt does otherwise than its job's config says: `attempt.<n>.json`, written before its launch.

`config.json` never changes: it is what the person chose. An override is what a retry needed: half the
micro-batch after an out of memory, a shorter length that a person pressed.
"""

import json
from pathlib import Path
from typing import Any

from qlora_ui.config import TrainConfig
from qlora_ui.owner import EXIT_OUT_OF_MEMORY

MICRO_BATCH = "trainer.per_device_train_batch_size"


def write(job: Path, attempt: int, overrides: dict[str, Any]) -> None:
    """Keep an attempt's overrides (`{"section.field": value}`), whole or not at all. Raises OSError."""
    part = _file(job, attempt).with_suffix(".part")
    part.write_text(json.dumps(overrides), "utf-8")
    part.replace(_file(job, attempt))


def overrides(job: Path, attempt: int) -> dict[str, Any]:
    """Those of an attempt; none where none were written."""
    try:
        found: dict[str, Any] = json.loads(_file(job, attempt).read_bytes())
    except FileNotFoundError:
        return {}
    return found


def config(job: Path, attempt: int) -> TrainConfig:
    """What an attempt does: the job's config with its overrides."""
    chosen = TrainConfig.model_validate_json((job / "config.json").read_bytes())
    return chosen.overridden(overrides(job, attempt))


def retry(config: TrainConfig, code: int | None, used: int = 0) -> dict[str, Any] | None:
    """What to add to the overrides so that another attempt may fit after this exit code; None if nothing can,
    or the person wants it otherwise. `config` is the attempt's; `used` the micro-batch that it really had
    where that is known: a step may have fewer bins than the config allows at once."""
    micro = used or config.trainer.per_device_train_batch_size
    if code != EXIT_OUT_OF_MEMORY or micro == 1 or not config.keep.smaller_micro_batch:
        return None
    return {MICRO_BATCH: micro // 2}


def _file(job: Path, attempt: int) -> Path:
    return job / f"attempt.{attempt}.json"
