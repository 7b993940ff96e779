"""The adapter as a zip, made while it is sent: no second copy on the disk, no wait before it begins."""

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

CHUNK = 1 << 20  # bytes


class _Outlet:
    """Takes what `zipfile` writes and hands it on. It cannot seek, so sizes follow each file's bytes."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Nothing is open."""

    def take(self) -> bytes:
        taken, self._parts = b"".join(self._parts), []
        return taken


def contents(folder: Path) -> list[tuple[Path, str]]:
    """What a job's zip holds: the files of its adapter, and its config.json beside them. No links."""
    adapter = folder / "adapter"
    files = sorted(path for path in adapter.rglob("*") if path.is_file() and not path.is_symlink())
    inside = [(path, f"adapter/{path.relative_to(adapter).as_posix()}") for path in files]
    return [*inside, (folder / "config.json", "config.json")]


def zipped(files: list[tuple[Path, str]]) -> Iterator[bytes]:
    """The zip's bytes, a chunk at a time. Stored, not packed: weights do not get smaller."""
    outlet = _Outlet()
    with zipfile.ZipFile(outlet, "w", zipfile.ZIP_STORED) as archive:
        for path, name in files:
            # from_file knows the size, by which zipfile chooses the 64-bit form.
            entry = zipfile.ZipInfo.from_file(path, name, strict_timestamps=False)
            with path.open("rb") as source, archive.open(entry, "w") as target:
                while chunk := source.read(CHUNK):
                    target.write(chunk)
                    yield outlet.take()
            yield outlet.take()
    yield outlet.take()


def disposition(name: str, job_id: str) -> str:
    """`attachment` with a file name: the job's, in letters any disk takes, and its id."""
    words = re.sub(r"[^\w.-]+", "-", name).strip("-.")[:60]
    wanted = f"{words or 'qlora'}-{job_id}.zip"
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "", wanted).lstrip("-.") or f"{job_id}.zip"
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(wanted)}"
