"""Rows of a Hub data set: a subset and split of it, in whatever files they lie (Parquet, JSON, CSV, text).

Its files come into the Hub's cache like a model's; `datasets` only says which files make the split and reads
them. No code of the data set runs: that library dropped it, and only its own readers are left.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qlora_ui.config import Dataset
from qlora_ui.data.readers import Row
from qlora_ui.errors import Stopped, UserError
from qlora_ui.training.hub_errors import explained
from qlora_ui.training.hub_files import Listing, Repo, fetch, look_up
from qlora_ui.training.progress import Report, Stop

DESCRIPTIONS = ("README.md", ".huggingface.yaml", "dataset_infos.json")  # tell subsets, splits and columns
TELL_EVERY = 5000  # rows


def hub_rows(dataset: Dataset, report: Report, stop: Stop) -> Iterator[Row]:
    """The rows of one split, numbered from 1.

    Raises UserError as `hub_errors` and `hub_files.fetch` do, and no_data_files, no_subset, no_split,
    hub_rows_unreadable; Stopped.
    """
    repo = Repo("dataset", dataset.path)
    with tempfile.TemporaryDirectory(prefix="qlora-ui-") as temporary:
        with explained(repo):
            listing = look_up(repo, stop)
            outline = Path(temporary) / "outline"
            _draw(outline, repo, listing, stop)
            builder = _builder(outline, dataset, listing)
            names = _files(builder, outline, dataset, listing)
            folder = fetch(repo, listing, names, report, stop)
        report("reading_data", 0, 0, "rows", 0.0)
        with _readable(dataset):
            for number, value in enumerate(_read(builder, folder, names, dataset.split), 1):
                if number % TELL_EVERY == 0:
                    if stop():
                        raise Stopped
                    report("reading_data", number, 0, "rows", 0.0)
                yield Row(number, value)


def _draw(outline: Path, repo: Repo, listing: Listing, stop: Stop) -> None:
    """A folder like the repository, whose data files are empty: enough to tell which belong to a split."""
    there = [name for name in DESCRIPTIONS if name in listing.files]
    folder = fetch(repo, listing, there, lambda *_: None, stop) if there else None
    for name in listing.files:
        path = outline / name
        if not path.resolve().is_relative_to(outline.resolve()) or path.suffix == ".py":
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((folder / name).read_bytes() if folder and name in there else b"")


def _builder(outline: Path, dataset: Dataset, listing: Listing) -> Any:
    from datasets import get_dataset_config_names, get_dataset_default_config_name, load_dataset_builder
    from datasets.data_files import EmptyDatasetError
    from datasets.exceptions import DataFilesNotFoundError

    try:
        subsets = get_dataset_config_names(str(outline))
        subset = dataset.subset or get_dataset_default_config_name(str(outline))
        if subset in subsets:
            return load_dataset_builder(str(outline), subset, cache_dir=str(outline.with_name("cache")))
    except (DataFilesNotFoundError, EmptyDatasetError) as error:
        raise listing.absent(UserError("no_data_files", id=dataset.path)) from error
    raise UserError("no_subset", id=dataset.path, subset=dataset.subset, subsets=", ".join(subsets))


def _files(builder: Any, outline: Path, dataset: Dataset, listing: Listing) -> list[str]:
    """The names in the repository of the files that make the split."""
    splits = builder.config.data_files or {}
    if dataset.split not in splits:
        found = ", ".join(map(str, splits))
        raise listing.absent(UserError("no_split", id=dataset.path, split=dataset.split, splits=found))
    return [str(Path(path).relative_to(outline)) for path in splits[dataset.split]]


def _read(builder: Any, folder: Path, names: list[str], split: str) -> Iterator[dict[str, Any]]:
    """Straight from the files: nothing more is written to the disk."""
    from datasets.data_files import DataFilesDict, DataFilesList

    paths = [str(folder / name) for name in names]
    builder.config.data_files = DataFilesDict({split: DataFilesList(paths, [()] * len(paths))})
    yield from builder.as_streaming_dataset(split=split)


@contextmanager
def _readable(dataset: Dataset) -> Iterator[None]:
    """What a library says of a broken file, as a UserError."""
    try:
        yield
    except (Stopped, UserError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise UserError("hub_rows_unreadable", id=dataset.path, split=dataset.split, reason=reason) from error
