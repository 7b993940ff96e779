"""A model of the Hub → its folder in the Hub's cache: only what is needed, and nothing that holds code."""

import json
from fnmatch import fnmatch
from pathlib import Path

from qlora_ui.config import Model
from qlora_ui.errors import UserError
from qlora_ui.training.hub_errors import explained
from qlora_ui.training.hub_files import Listing, Repo, fetch, look_up
from qlora_ui.training.model_checks import check_config
from qlora_ui.training.progress import Report, Stop

CONFIG = "config.json"
INDEX = "model.safetensors.index.json"
WEIGHTS = "model.safetensors"
# Besides the weights. Never *.bin, *.pt (pickles run code) nor *.py.
FILES = (
    "generation_config.json",
    "tokenizer*.json",
    "tokenizer*.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "sentencepiece*.model",
    "tekken.json",
    "chat_template.json",
    "*.jinja",
)


def hub_model(model: Model, report: Report, stop: Stop) -> Path:
    """The folder with the model's files, downloaded as far as they are not in the cache yet.

    Raises UserError as `hub_errors`, `hub_files.fetch` and `model_checks` do, and no_safetensors; Stopped.
    """
    repo = Repo("model", model.name_or_path, model.revision)
    with explained(repo):
        listing = look_up(repo, stop)
        if CONFIG not in listing.files:
            raise listing.absent(UserError("no_model_config", id=repo.id))
        # The small files that decide, before gigabytes are fetched
        first = [name for name in (CONFIG, INDEX) if name in listing.files]
        folder = fetch(repo, listing, first, _silent, stop)
        check_config(folder / CONFIG)
        others = [name for name in listing.files if any(fnmatch(name, pattern) for pattern in FILES)]
        return fetch(repo, listing, [*first, *others, *_weights(folder, listing)], report, stop)


def _weights(folder: Path, listing: Listing) -> list[str]:
    """The files transformers loads: some repositories hold the same weights in other files again."""
    if INDEX in listing.files:
        return sorted(set(json.loads((folder / INDEX).read_bytes())["weight_map"].values()))
    if WEIGHTS in listing.files:
        return [WEIGHTS]
    raise listing.absent(UserError("no_safetensors"))


def _silent(phase: str, done: int, total: int, unit: str, rate: float) -> None:
    """A few kilobytes are no download to a person."""
