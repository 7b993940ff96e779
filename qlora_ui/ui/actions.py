"""What a page may ask for by POST: each action of a job and of the queue, and how it is refused."""

from collections.abc import Callable
from typing import Any

from qlora_ui import checkpoints
from qlora_ui.jobs import ENDED, Job, JobState
from qlora_ui.scheduler import Scheduler
from qlora_ui.ui import memory_plan, security, view
from qlora_ui.ui.sizes import Sizes

NAME = 120  # letters of a job's name, as in TrainConfig
Body = dict[str, Any]


class Refused(Exception):
    """A request that is answered with a sentence: key of the text, HTTP status, values."""

    def __init__(self, key: str, status: int, **values: object) -> None:
        super().__init__(key)
        self.key, self.status, self.values = key, status, values


class Actions:
    """By name, each with the request's body. Raises Refused where the state is another than the page's."""

    def __init__(self, scheduler: Scheduler, sizes: Sizes) -> None:
        self.scheduler = scheduler
        self.store = scheduler.store
        self.sizes = sizes
        self.of_job: dict[str, Callable[[Job, Body], None]] = {
            "stop": self._stop,
            "pause": self._pause,
            "resume": self._resume,
            "move": self._move,
            "rename": self._rename,
            "delete": self._delete,
            "delete-checkpoints": self._delete_checkpoints,
            "token": self._token,
        }
        self.of_queue: dict[str, Callable[[Body], None]] = {"pause": self._pause_queue}

    def _stop(self, job: Job, body: Body) -> None:
        # Asked to stop a second time, the scheduler kills: only if that is what the person read and pressed.
        kill = job.state is JobState.STOPPING
        if kill is not body.get("kill", False) or not self.scheduler.stop(job.id):
            raise Refused("ui.refused.state", 409)

    def _pause(self, job: Job, body: Body) -> None:
        if not self.scheduler.pause(job.id):
            raise Refused("ui.refused.state", 409)

    def _resume(self, job: Job, body: Body) -> None:
        """Overrides are taken only if they are among those that we offered."""
        overrides = body.get("overrides")
        if overrides is not None:
            offered = memory_plan.suggested(job, self.store.folder(job.id))
            if overrides not in [change.overrides for change in offered]:
                raise Refused("ui.refused.state", 409)
        if not self.scheduler.resume(job.id, overrides):
            raise Refused("ui.refused.state", 409)

    def _move(self, job: Job, body: Body) -> None:
        way = body.get("way")
        if way not in ("up", "down"):
            raise Refused("ui.refused.action", 400)
        if not self.scheduler.move(job.id, way):
            raise Refused("ui.refused.state", 409)

    def _rename(self, job: Job, body: Body) -> None:
        name = " ".join(str(body.get("name", "")).split())
        if len(name) > NAME:
            raise Refused("ui.refused.name", 400, most=NAME)
        self.store.rename(job.id, name)

    def _delete(self, job: Job, body: Body) -> None:
        if not self.store.delete(job.id):
            raise Refused("ui.refused.state", 409)

    def _delete_checkpoints(self, job: Job, body: Body) -> None:
        if job.state not in ENDED:
            raise Refused("ui.refused.state", 409)
        checkpoints.delete(self.store.folder(job.id))
        self.sizes.forget(job.id)

    def _token(self, job: Job, body: Body) -> None:
        token = str(body.get("token", "")).strip()
        if not security.is_token(token):
            raise Refused("ui.refused.token", 400)
        if self.scheduler.waits_for_token(job):
            self.scheduler.give_token(job.id, token)
        elif not (view.wants_token(job) and self.scheduler.resume(job.id, token=token)):
            raise Refused("ui.refused.state", 409)

    def _pause_queue(self, body: Body) -> None:
        on = body.get("on")
        if not isinstance(on, bool):
            raise Refused("ui.refused.action", 400)
        self.scheduler.pause_queue(on)
