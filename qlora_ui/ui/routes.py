"""What the page's scripts ask the server for, below `/gradio_api/qlora/`: events, jobs, actions, files.

Below Gradio's own path because only that is passed on where a Node front stands before it. Every answer that
is not as asked is `{"error": sentence}`.
"""

import asyncio
import gzip
import hashlib
import importlib.util
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import orjson
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from qlora_ui.jobs import Job, JobStore
from qlora_ui.scheduler import Scheduler
from qlora_ui.texts import LANGUAGES, text
from qlora_ui.ui import archive, security, view
from qlora_ui.ui.actions import NAME as NAME
from qlora_ui.ui.actions import Actions, Refused
from qlora_ui.ui.listing import JobList
from qlora_ui.ui.live import Live

BASE = "/gradio_api/qlora"
OWN = Path(__file__).parents[2] / "assets"
BOKEH = ("bokeh.min.js", "bokeh-api.min.js")
FILES = (
    "monitor.js",
    "job_view.js",
    "keeping.js",
    "charts.js",
    "jobs.js",
    "rows.js",
    "beacon.js",
    "monitor.css",
    "jobs.css",
)
TAIL = 64 * 1024  # bytes of worker.log shown
FOREVER = {"Cache-Control": "public, max-age=31536000, immutable"}
NEVER = {"Cache-Control": "no-store"}
log = logging.getLogger(__name__)

Handler = Callable[[Request], Awaitable[Response]]


class Routes:
    """The routes over one store and scheduler."""

    def __init__(self, store: JobStore, scheduler: Scheduler) -> None:
        self.store = store
        self.scheduler = scheduler
        self.live = Live(store, scheduler)
        self.list = JobList(self.live)
        self.actions = Actions(scheduler, self.list.sizes)

    def all(self) -> list[Route]:
        """For `launch(app_kwargs={"routes": …})`."""
        one = f"{BASE}/jobs/{{job_id}}"
        return [
            Route(f"{BASE}/assets/{{version}}/{{name}}", _asset),
            Route(f"{BASE}/jobs", _answered(self.jobs)),
            Route(f"{BASE}/now", _answered(self.now)),
            Route(f"{BASE}/queue/{{action}}", _answered(self.act_on_queue), methods=["POST"]),
            Route(f"{one}/events", _answered(self.events)),
            Route(f"{one}/details", _answered(self.details)),
            Route(f"{one}/adapter.zip", _answered(self.adapter)),
            Route(f"{one}/{{action}}", _answered(self.act), methods=["POST"]),
        ]

    async def jobs(self, request: Request) -> Response:
        """The list: what works, what waits in its order, what has ended; 304 if the page has it already."""
        return _unless_known(request, await self.list.whole(_language(request)))

    async def now(self, request: Request) -> Response:
        """What every page shows: how many jobs run, how far they are, which have just ended."""
        return _unless_known(request, await self.list.now(_language(request)))

    async def events(self, request: Request) -> Response:
        """A job's server-sent events, from the byte offset that the page knows."""
        job_id, language = request.path_params["job_id"], _language(request)
        if not security.JOB_ID.fullmatch(job_id):
            raise Refused("ui.job.no_such", 404)
        known = request.headers.get("last-event-id") or request.query_params.get("from", "")
        offset = int(known) if known.isdecimal() and len(known) < 19 else -1
        return StreamingResponse(
            self.live.messages(job_id, language, offset),
            media_type="text/event-stream",
            headers={**NEVER, "X-Accel-Buffering": "no"},
        )

    async def details(self, request: Request) -> Response:
        """The traceback of a failed job and the end of its worker's output."""
        job = self._job(request)
        _, followed = await self.live.now(job.id)
        traceback = followed.failure.traceback if followed.failure else ""
        parts = [traceback.strip(), _tail(self.store.folder(job.id) / "worker.log").strip()]
        return PlainTextResponse("\n\n".join(filter(None, parts)), headers=NEVER)

    async def adapter(self, request: Request) -> Response:
        """The adapter with the job's config.json as a zip, made while it is sent."""
        job = self._job(request)
        if not view.has_adapter(job, self.store):
            raise Refused("ui.refused.adapter", 404)
        return StreamingResponse(
            archive.zipped(archive.contents(self.store.folder(job.id))),
            media_type="application/zip",
            headers={**NEVER, "Content-Disposition": archive.disposition(job.name, job.id)},
        )

    async def act(self, request: Request) -> Response:
        """Do something to a job (`actions.py`). The scheduler alone changes states."""
        job = self._job(request)
        return await self._do(request, self.actions.of_job.get(request.path_params["action"]), job)

    async def act_on_queue(self, request: Request) -> Response:
        """Pause the queue, or let it go on."""
        return await self._do(request, self.actions.of_queue.get(request.path_params["action"]))

    async def _do(self, request: Request, action: Callable[..., None] | None, *what: Job) -> Response:
        # A browser says where a POST comes from, and the middleware has let only our own pages pass.
        if action is None or "origin" not in request.headers:
            raise Refused("ui.refused.action", 400)
        await asyncio.to_thread(action, *what, await _body(request))
        return JSONResponse({}, headers=NEVER)

    def _job(self, request: Request) -> Job:
        job_id = request.path_params["job_id"]
        job = self.store.get(job_id) if security.JOB_ID.fullmatch(job_id) else None
        if job is None:
            raise Refused("ui.job.no_such", 404)
        return job


def _answered(handler: Handler) -> Handler:
    """The handler behind the login; what goes wrong is a sentence, the traceback in the server's log."""

    async def answer(request: Request) -> Response:
        try:
            if not security.logged_in(request):
                raise Refused("ui.refused.login", 401)
            return await handler(request)
        except Refused as refused:
            said = text(_language(request), refused.key, **refused.values)
            return JSONResponse({"error": said}, refused.status, headers=NEVER)
        except Exception:
            log.exception("%s %s", request.method, request.url.path)
            return JSONResponse({"error": text(_language(request), "ui.refused.fault")}, 500, headers=NEVER)

    return answer


async def _asset(request: Request) -> Response:
    """A script or style sheet; its address has the version, so that it is kept for good."""
    name = request.path_params["name"]
    if name in BOKEH:
        return FileResponse(_bokeh() / name, headers=FOREVER)
    if name in FILES:
        return FileResponse(OWN / name, headers=FOREVER)
    return PlainTextResponse(text("en", "ui.refused.action"), 404)


def assets() -> str:
    """Where the scripts and the style sheet are, relative to the page; another address for other contents."""
    digest = hashlib.sha256(b"".join((OWN / name).read_bytes() for name in FILES)).hexdigest()
    return f"{BASE.lstrip('/')}/assets/{digest[:12]}"


def _bokeh() -> Path:
    spec = importlib.util.find_spec("bokeh")  # finds the package without importing it
    assert spec and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "server" / "static" / "js"


def _language(request: Request) -> str:
    asked = request.query_params.get("lang", "")
    return asked if asked in LANGUAGES else security.spoken(request.headers.get("accept-language", ""))


def _tail(path: Path) -> str:
    """The last whole lines of a file, at most TAIL bytes; "" if there is none."""
    try:
        with path.open("rb") as file:
            cut = file.seek(0, 2) > TAIL
            file.seek(-TAIL if cut else 0, 2 if cut else 0)
            end = file.read()
    except FileNotFoundError:
        return ""
    return (end.partition(b"\n")[2] if cut else end).decode("utf-8", "replace")


async def _body(request: Request) -> dict[str, object]:
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise Refused("ui.refused.action", 415)
    try:
        body = orjson.loads(await request.body())
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        raise Refused("ui.refused.action", 400)
    return body


def _unless_known(request: Request, value: object) -> Response:
    """JSON, packed where the browser takes it; nothing but 304 if it has the same already."""
    body = orjson.dumps(value)
    headers = {"Cache-Control": "no-cache", "ETag": f'"{hashlib.sha256(body).hexdigest()[:20]}"'}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    if len(body) > 2000 and "gzip" in request.headers.get("accept-encoding", ""):
        body, headers["Content-Encoding"] = gzip.compress(body, 1), "gzip"
    return Response(body, media_type="application/json", headers=headers)
