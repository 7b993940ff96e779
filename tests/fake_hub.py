"""A small Hub on loopback for `HF_ENDPOINT`: what huggingface_hub asks of the real one, and its ways to fail.

    with FakeHub() as hub:
        hub.add("model", "org/tiny", files_of(folder))
        environ["HF_ENDPOINT"] = hub.endpoint

Large files lie at a second address, as the real Hub's lie at a CDN. `hub.requests` tells what was asked.
"""

import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".parquet")
API = re.compile(r"/api/(model|dataset)s/(?P<id>[^/]+/[^/]+)(/(?P<what>revision|tree)/(?P<revision>[^/]+))?")
FILE = re.compile(r"/(?P<data>datasets/)?(?P<id>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<name>.+)")
TICK = 0.05  # seconds between two pieces of a slow download
PIECE = 64 * 1024


@dataclass
class Repository:
    """`tokens`: those that may read it, None for everybody. A `gated` one is seen by all, but not read."""

    files: dict[str, bytes]
    gated: bool = False
    tokens: frozenset[str] | None = None

    @property
    def commit(self) -> str:
        return hashlib.sha1(repr(sorted(self.files.items())).encode()).hexdigest()

    def etag(self, name: str) -> str:
        return _etag(name, self.files[name])


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    range: str | None
    token: str | None
    cdn: bool


def files_of(folder: Path) -> dict[str, bytes]:
    """A folder's files, by their paths in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@dataclass
class FakeHub:
    """`rate`: bytes a second of a large file, 0 for all at once. `drops`: how many times one breaks off in
    its middle. `damage`: large files arrive with a wrong byte. `ranges`: whether a part can be asked for.
    `portal`: it is the login page of a firewall. `busy`, `busy_files`: how many times it answers 503, to
    anything or at the CDN. `terse`: like some mirrors it tells no checksums. `silent`: it takes requests
    and never answers."""

    known_tokens: frozenset[str] = frozenset()
    rate: int = 0
    drops: int = 0
    busy: int = 0
    busy_files: int = 0
    silent: bool = False
    terse: bool = False
    damage: bool = False
    ranges: bool = True
    portal: bool = False
    requests: list[Asked] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.closing = threading.Event()
        self._servers = [ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, cdn)) for cdn in (False, True)]
        self.endpoint, self.cdn = (f"http://127.0.0.1:{server.server_port}" for server in self._servers)

    def add(self, kind: str, id: str, files: dict[str, bytes], **rules: Any) -> Repository:
        self.repositories[kind, id] = Repository(files, **rules)
        return self.repositories[kind, id]

    def asked(self, name: str) -> list[Asked]:
        """What was asked for the bytes of large files whose path ends so."""
        return [asked for asked in self.requests if asked.cdn and asked.path.endswith(name)]

    def __enter__(self) -> "FakeHub":
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()


def _handler(hub: FakeHub, cdn: bool) -> type[BaseHTTPRequestHandler]:
    class Bound(Handler):
        pass

    Bound.hub, Bound.cdn = hub, cdn
    return Bound


class Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    cdn: bool
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(Asked(self.command, path, self.headers.get("Range"), token, self.cdn))
        if self.hub.silent:
            self.hub.closing.wait()
            self.close_connection = True
        elif self.hub.portal:
            self._send(200, b"<html>Please log in</html>", {"Content-Type": "text/html"})
        elif self.hub.busy:
            self.hub.busy -= 1
            self._send(503)
        elif token is not None and token not in self.hub.known_tokens and not self.cdn:
            self._refuse(401, "", "Invalid credentials in Authorization header")
        elif api := API.fullmatch(path):
            self._tell(api, token)
        elif file := FILE.fullmatch(path):
            self._file(file, token)
        else:
            self._send(404)

    def _repository(
        self, kind: str, match: re.Match[str], token: str | None, reading: bool
    ) -> Repository | None:
        """The repository asked for, or None once it is refused."""
        repository = self.hub.repositories.get((kind, match["id"]))
        allowed = repository and (repository.tokens is None or token in repository.tokens)
        if repository is None or not allowed and not repository.gated:
            self._refuse(404 if token else 401, "RepoNotFound", "Repository not found")
        elif not allowed and reading:
            message = f"Access to {kind} {match['id']} is restricted"
            self._refuse(403 if token else 401, "GatedRepo", message)
        elif match["revision"] not in (None, "main", repository.commit):
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {match['revision']}")
        else:
            return repository
        return None

    def _tell(self, match: re.Match[str], token: str | None) -> None:
        repository = self._repository(match[1], match, token, reading=False)
        if repository is None:
            return
        described = [_description(name, content) for name, content in repository.files.items()]
        names = [{"rfilename": name} for name in repository.files]
        files = names if self.hub.terse else described
        info = {"id": match["id"], "sha": repository.commit, "siblings": files, "private": False, "tags": []}
        told = [_leaf(file) for file in described] if match["what"] == "tree" else info
        self._send(200, json.dumps(told).encode(), {"Content-Type": "application/json"})

    def _file(self, match: re.Match[str], token: str | None) -> None:
        kind = "dataset" if match["data"] else "model"
        if self.cdn and self.hub.busy_files:
            self.hub.busy_files -= 1
            self._send(503)
        elif self.cdn:
            repository = self.hub.repositories[kind, match["id"]]
            self._stream(repository.files[match["name"]])
        else:
            self._resolve(kind, match, token)

    def _resolve(self, kind: str, match: re.Match[str], token: str | None) -> None:
        found = self._repository(kind, match, token, reading=True)
        if found is None:
            return
        content = found.files.get(match["name"])
        if content is None:
            self._refuse(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": found.commit})
            return
        headers = {"X-Repo-Commit": found.commit, "ETag": f'"{_etag(match["name"], content)}"'}
        if match["name"].endswith(LARGE):
            headers |= {"X-Linked-Size": str(len(content)), "X-Linked-Etag": headers.pop("ETag")}
            self._send(302, b"", headers | {"Location": self.hub.cdn + self.path})
        else:
            self._send(200, content, headers)

    def _stream(self, content: bytes) -> None:
        """A large file, or its rest."""
        first = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(first[1]) if first and self.hub.ranges else 0
        rest = content[start:]
        if self.hub.damage:
            rest = rest[:-1] + bytes([rest[-1] ^ 1])
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        if self.hub.drops:
            self.hub.drops -= 1
            rest = rest[: len(rest) // 2]
            self.close_connection = True
        piece = int(self.hub.rate * TICK) or PIECE
        for at in range(0, len(rest), piece):
            try:
                self.wfile.write(rest[at : at + piece])
            except OSError:  # whoever asked has gone
                self.close_connection = True
                return
            if self.hub.rate and self.hub.closing.wait(TICK):
                self.close_connection = True
                return

    def _refuse(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        errors = {"X-Error-Code": code, "X-Error-Message": message} if code else {"X-Error-Message": message}
        self._send(status, json.dumps({"error": message}).encode(), errors | (headers or {}))

    def _send(self, status: int, content: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _description(name: str, content: bytes) -> dict[str, Any]:
    """A file as the API describes it with `blobs=true`."""
    described: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": _git(content)}
    if name.endswith(LARGE):
        described["lfs"] = {"sha256": _etag(name, content), "size": len(content), "pointerSize": 130}
    return described


def _leaf(file: dict[str, Any]) -> dict[str, Any]:
    """The same as the tree of a commit tells it."""
    leaf = {"type": "file", "path": file["rfilename"], "size": file["size"], "oid": file["blobId"]}
    lfs = file.get("lfs")
    return leaf | ({"lfs": {"oid": lfs["sha256"], "size": lfs["size"], "pointerSize": 130}} if lfs else {})


def _etag(name: str, content: bytes) -> str:
    return hashlib.sha256(content).hexdigest() if name.endswith(LARGE) else _git(content)


def _git(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
