"""A job as its page and the list of jobs are sent it: plain values, in the reader's language.

Everything here may hold text of a model, a file or an exception: the scripts set it as text, never as HTML.
"""

import re
from typing import Any

from qlora_ui.events import Answer
from qlora_ui.jobs import ACTIVE, ENDED, Job, JobState, JobStore
from qlora_ui.texts import text
from qlora_ui.ui import wording
from qlora_ui.ui.follow import Followed

STOP = {
    JobState.QUEUED: "ui.job.stop_queued",
    JobState.STARTING: "ui.job.stop",
    JobState.RUNNING: "ui.job.stop",
    JobState.STOPPING: "ui.job.kill",
}

PARENT = re.compile(r"[0-9a-f]{10}")  # ids that `TrainConfig.parent` takes


def before(job: Job, store: JobStore) -> list[Job]:
    """The jobs a queued one waits for: those that run, then those queued earlier."""
    queued = [other for other in store.all([JobState.QUEUED]) if other.created < job.created]
    return store.all(ACTIVE) + queued


def job(
    language: str, job: Job, followed: Followed, store: JobStore, waits_for_token: bool
) -> dict[str, Any]:
    """What of a job's page changes with its row: name, what can be done, what is said of its end."""
    adapter = has_adapter(job, store)
    queued = job.state is JobState.QUEUED
    queue = wording.queue(language, before(job, store), waits_for_token) if queued else ""
    return {
        "name": wording.name(language, job),
        "state": str(job.state),
        "ended": job.state in ENDED,
        "stop": text(language, STOP[job.state]) if job.state in STOP else "",
        "adapter": adapter,
        "token": waits_for_token,
        "queue": queue,
        "error": wording.error(language, job),
        "details": wording.details(language, job, followed),
        "command": wording.command(store.folder(job.id)),
        "next": wording.what_next(language, job, adapter),
        "code": wording.code(job, store.home) if adapter else "",
    }


def bar(language: str, job: Job, followed: Followed, waits_for_token: bool) -> list[Any]:
    """What moves while it works: share done, the line under the bar, state, icon."""
    return [
        wording.share(job, followed),
        wording.progress(language, job, followed),
        wording.state(language, job, followed.phase, waits_for_token),
        wording.icon(job, waits_for_token),
    ]


def answers(language: str, followed: Followed) -> list[dict[str, Any]]:
    """Each question with the model's answers: before training, and the latest."""
    return [
        {"question": question, "answers": [_answer(language, answer) for answer in said]}
        for question, said in followed.answers.items()
        if said
    ]


def row(language: str, job: Job, followed: Followed | None, store: JobStore, waits: bool) -> dict[str, Any]:
    """A job as a row of the list; `followed` of one that works."""
    share = wording.share(job, followed) if followed else None
    return {
        "id": job.id,
        "name": wording.name(language, job),
        "state": wording.state(language, job, followed.phase if followed else None, waits),
        "icon": wording.icon(job, waits),
        "share": share,
        "line": wording.progress(language, job, followed) if followed else wording.ended(language, job),
        "model": wording.model(job.config),
        "strength": wording.strength(job.config),
        "created": int(job.created),
        "stop": text(language, STOP[job.state]) if job.state in STOP else "",
        "kill": job.state is JobState.STOPPING,
        "ended": job.state in ENDED,
        "adapter": job.state in ENDED and has_adapter(job, store),
    }


def has_adapter(job: Job, store: JobStore) -> bool:
    """Whether there is something to download."""
    return (store.folder(job.id) / "adapter" / "adapter_model.safetensors").is_file()


def can_be_parent(job: Job, store: JobStore) -> bool:
    """Whether another job can go on from its adapter."""
    return job.state in ENDED and bool(PARENT.fullmatch(job.id)) and has_adapter(job, store)


def _answer(language: str, answer: Answer) -> list[str]:
    key = "ui.job.after" if answer.step else "ui.job.before"
    return [text(language, key, step=answer.step), answer.answer]
