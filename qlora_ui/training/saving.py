"""The adapter on the disk: a normal PEFT folder, whole or not there."""

import shutil
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from qlora_ui.config import Model
from qlora_ui.failpoints import failpoint


def save_adapter(
    model: Any, tokenizer: PreTrainedTokenizerBase, source: Model, base: Path, folder: Path
) -> int:
    """Write `folder/adapter` and return its size in bytes. On a full disk raises what the libraries raise,
    and leaves nothing."""
    part, old, final = (folder / name for name in ("adapter.part", "adapter.old", "adapter"))
    shutil.rmtree(part, ignore_errors=True)
    # Where the base model can be had again: its Hub id, not a place in this machine's cache.
    adapter = model.peft_config["default"]
    adapter.base_model_name_or_path = source.name_or_path if source.source == "hub" else str(base)
    adapter.revision = source.revision if source.source == "hub" else None
    try:
        # Never asks the Hub whether the vocabulary grew: it did not.
        failpoint("save")
        model.save_pretrained(part, save_embedding_layers=False)
        failpoint("save")
        tokenizer.save_pretrained(part)
        shutil.copyfile(folder / "config.json", part / "config.json")
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)  # a full disk needs the room
        raise
    shutil.rmtree(old, ignore_errors=True)
    failpoint("rename")
    if final.exists():
        final.replace(old)
        failpoint("rename")
    part.replace(final)
    failpoint("rename")
    shutil.rmtree(old, ignore_errors=True)
    return sum(path.stat().st_size for path in final.rglob("*") if path.is_file())
