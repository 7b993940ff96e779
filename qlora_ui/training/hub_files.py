"""Files of a Hub repository, brought into the Hub's own cache folder (HF_HOME).

huggingface_hub 2.4 throws away half a file when its process ends, and takes a file in pieces of 10 MB between
which nothing is seen of it. So the bytes are fetched here, kept as they come and gone on from after a break
or a restart; the library looks up, authorises, and files what is whole.
"""

import hashlib
import os
import re
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import httpx2
from huggingface_hub import (
    HfApi,
    constants,
    get_cached_repo_tree,
    hf_hub_download,
    hf_hub_url,
    snapshot_download,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    CachedRepoTreeNotFoundError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
)
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import WeakFileLock, build_hf_headers, get_session, hf_raise_for_status

from qlora_ui.errors import UserError
from qlora_ui.texts import quantities
from qlora_ui.training.progress import Report, Stop, Transfer, check_space
from qlora_ui.training.threads import apart, start, wait_for

CONNECTIONS = 4  # files at once: one connection seldom fills a line
TRIES = 5  # in a row without a new byte
PAUSE = 0.5  # seconds before the second try; doubled for each further one
TRANSIENT = (408, 429, 500, 502, 503, 504)
ETAG = re.compile("[0-9a-f]{40,64}")  # of a small file git's own checksum, of a large one
SHA256_LENGTH = 64  # hex digits


@dataclass(frozen=True, slots=True)
class Repo:
    """A model or data set of the Hub."""

    kind: Literal["model", "dataset"]
    id: str
    revision: str = "main"


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """Its bytes, and the name its content has in the cache ("" where the Hub does not tell)."""

    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class Listing:
    """All files of a repository at one commit; only those of the cache where the Hub is `unreachable`."""

    commit: str
    files: dict[str, RemoteFile]
    unreachable: Exception | None = None

    def absent(self, reason: Exception) -> Exception:
        """Why something is not there: `reason`, unless the Hub might have it."""
        return self.unreachable or reason


def look_up(repo: Repo, stop: Stop) -> Listing:
    """What the repository holds. Raises what huggingface_hub and httpx2 raise; Stopped."""
    try:
        return apart(lambda: _ask(repo), stop)
    except (httpx2.TransportError, OfflineModeIsEnabled, HfHubHTTPError) as error:
        if not transient(error):
            raise
        listing = _cached(repo, error)
        if listing is None:
            raise
        return listing


def _ask(repo: Repo) -> Listing:
    timeout = 3 * constants.HF_HUB_ETAG_TIMEOUT  # for a repository of thousands of files
    try:
        ask = HfApi().model_info if repo.kind == "model" else HfApi().dataset_info
        info = ask(repo.id, revision=repo.revision, files_metadata=True, timeout=timeout)
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, (HfHubHTTPError, HFValidationError)):
            raise
        # Not what a Hub says: the page of a firewall, or an HF_ENDPOINT of something else
        raise UserError("not_a_hub", endpoint=constants.ENDPOINT) from error
    files = {
        file.rfilename: RemoteFile(file.size or 0, _etag(file.lfs.sha256 if file.lfs else file.blob_id))
        for file in info.siblings or ()
    }
    return Listing(str(info.sha), files)


def _etag(told: str | None) -> str:
    """It becomes the name of a file, so it must be what it should be."""
    return told if told and ETAG.fullmatch(told) else ""


def _cached(repo: Repo, reason: Exception) -> Listing | None:
    """What the cache knows of the repository: its whole listing if `_note` was there, else its files."""
    try:
        found = snapshot_download(
            repo.id, repo_type=repo.kind, revision=repo.revision, local_files_only=True, allow_patterns=[]
        )
    except LocalEntryNotFoundError:
        return None
    folder = Path(found)
    try:
        tree = get_cached_repo_tree(repo.id, repo_type=repo.kind, revision=repo.revision)
        files = {file.path: RemoteFile(file.size, "") for file in tree}
    except CachedRepoTreeNotFoundError:
        paths = [path for path in folder.rglob("*") if path.is_file()]
        files = {str(path.relative_to(folder)): RemoteFile(path.stat().st_size, "") for path in paths}
    return Listing(folder.name, files, reason)


def fetch(repo: Repo, listing: Listing, names: Iterable[str], report: Report, stop: Stop) -> Path:
    """Bring files into the cache; the folder they then lie in, under their own names.

    Raises UserError download_broken, download_checksum, disk_space; what huggingface_hub and httpx2 raise;
    Stopped.
    """
    wanted = list(names)
    for name in wanted:
        if name not in listing.files:
            raise listing.absent(FileNotFoundError(name))
    missing = [name for name in wanted if not _is_cached(repo, listing.commit, name)]
    if missing:
        if listing.unreachable:
            raise listing.unreachable
        _Download(repo, listing, wanted, missing).run(report, stop)
        apart(lambda: _note(repo, wanted[0]), stop)
    return _folder(repo) / "snapshots" / listing.commit


def _is_cached(repo: Repo, commit: str, name: str) -> bool:
    return isinstance(try_to_load_from_cache(repo.id, name, revision=commit, repo_type=repo.kind), str)


def _note(repo: Repo, name: str) -> None:
    """Let the library note which commit the revision is and what it lists: offline mode goes by that.

    It also looks for one file, which is there.
    """
    snapshot_download(repo.id, repo_type=repo.kind, revision=repo.revision, allow_patterns=[name])


def _folder(repo: Repo) -> Path:
    """Of the repository, in the cache."""
    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo.id, repo_type=repo.kind)


class _Download:
    """Several files at once. `done`: the bytes of each that are on the disk."""

    def __init__(self, repo: Repo, listing: Listing, wanted: list[str], missing: list[str]) -> None:
        self._repo, self._commit = repo, listing.commit
        self._files = {name: listing.files[name] for name in wanted}
        self._blobs = _folder(repo) / "blobs"
        self._locks = Path(constants.HF_HUB_CACHE) / ".locks" / _folder(repo).name
        self._left = deque(missing)
        self._ended = threading.Event()
        self._done = {name: file.size for name, file in self._files.items()}
        self._done.update({name: self._there(name) for name in missing})

    def run(self, report: Report, stop: Stop) -> None:
        total = sum(file.size for file in self._files.values())
        for folder in (self._blobs, self._locks):
            folder.mkdir(parents=True, exist_ok=True)
        check_space(self._blobs, total - sum(self._done.values()))
        transfer = Transfer(report, total)
        lines = [start(self._work) for _ in range(min(CONNECTIONS, len(self._left)))]
        try:
            wait_for(lines, stop, lambda: transfer.at(sum(self._done.values())))
        finally:
            self._ended.set()
        transfer.at(total)

    def _work(self) -> None:
        """Fetch one file after the other, until none is left."""
        while self._left and not self._ended.is_set():
            name = self._left.popleft()
            if self._files[name].etag:
                self._fetch(name)
            if not self._ended.is_set():
                # The library links what lies in the cache; it fetches the file if its etag was not told.
                hf_hub_download(self._repo.id, name, repo_type=self._repo.kind, revision=self._commit)

    def _part(self, name: str) -> Path:
        return self._blobs / f"{self._files[name].etag}.part"

    def _there(self, name: str) -> int:
        """Bytes on the disk: all of a file that another revision has too, or what an earlier try left."""
        for path in (self._blobs / self._files[name].etag, self._part(name)):
            if path.is_file():
                return path.stat().st_size
        return 0

    def _fetch(self, name: str) -> None:
        """Make the file's blob, from what is there of it on."""
        etag = self._files[name].etag
        blob, part = self._blobs / etag, self._part(name)
        with WeakFileLock(self._locks / f"{etag}.lock"):  # the library's own lock of this blob
            if blob.exists():  # another process was faster
                return
            with part.open("ab") as file:
                self._persist(name, file)
            if self._ended.is_set():
                return
            if len(etag) == SHA256_LENGTH and _sha256(part) != etag:
                part.unlink()
                raise UserError("download_checksum", file=name, id=self._repo.id, endpoint=constants.ENDPOINT)
            part.replace(blob)

    def _persist(self, name: str, file: BinaryIO) -> None:
        """Stream the file to its end; after a break go on, as long as bytes come."""
        tries = 0
        while not self._ended.is_set():
            before = self._done[name]
            try:
                return self._stream(name, file)
            except (httpx2.TransportError, HfHubHTTPError) as error:
                if not transient(error):
                    raise
                tries = 1 if self._done[name] > before else tries + 1
                if tries == TRIES:
                    raise self._broken(name, error) from error
                self._ended.wait(PAUSE * 2 ** (tries - 1))

    def _stream(self, name: str, file: BinaryIO) -> None:
        whole = self._files[name].size
        at = file.seek(0, os.SEEK_END)
        if at > whole:
            at = file.truncate(0)
        self._done[name] = at
        if at == whole:
            return
        url = hf_hub_url(self._repo.id, name, repo_type=self._repo.kind, revision=self._commit)
        headers = build_hf_headers(headers={"Accept-Encoding": "identity"} | _range(at))
        with get_session().stream(
            "GET", url, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT
        ) as answer:
            hf_raise_for_status(answer)
            if at and answer.status_code != httpx2.codes.PARTIAL_CONTENT:
                at = file.truncate(0)  # what came is the whole file again
            for chunk in answer.iter_raw():
                if self._ended.is_set():
                    return
                file.write(chunk)
                at += len(chunk)
                self._done[name] = at
        if at != whole:
            raise httpx2.ReadError(f"{at} of {whole} bytes came")

    def _broken(self, name: str, reason: Exception) -> UserError:
        return UserError(
            "download_broken",
            file=name,
            endpoint=constants.ENDPOINT,
            done=quantities.size(sum(self._done.values())),
            total=quantities.size(sum(file.size for file in self._files.values())),
            reason=str(reason) or type(reason).__name__,
        )


def transient(error: Exception) -> bool:
    """Whether the same request may well succeed later."""
    return not isinstance(error, HfHubHTTPError) or error.response.status_code in TRANSIENT


def _range(at: int) -> dict[str, str]:
    return {"Range": f"bytes={at}-"} if at else {}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
