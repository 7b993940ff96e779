"""A job as its page and the list of jobs are sent it: plain values, in the reader's language.

Everything here may hold text of a model, a file or an exception: the scripts set it as text, never as HTML.
"""

import re
from typing import Any

from qlora_ui.events import Answer
from qlora_ui.jobs import ENDED, Job, JobState, JobStore
from qlora_ui.texts import text
from qlora_ui.texts.quantities import size
from qlora_ui.ui import keeping, memory_plan, sizes, wording
from qlora_ui.ui.around import Around
from qlora_ui.ui.follow import Followed
from qlora_ui.ui.sizes import Taken

WANT_TOKEN = ("model_gated", "dataset_gated", "token_refused")
STOP = {
    JobState.QUEUED: "ui.job.stop_queued",
    JobState.STARTING: "ui.job.stop",
    JobState.RUNNING: "ui.job.stop",
    JobState.STOPPING: "ui.job.kill",
}

PAUSES = (JobState.QUEUED, JobState.STARTING, JobState.RUNNING)
PARENT = re.compile(r"[0-9a-f]{10}")  # ids that `TrainConfig.parent` takes


def job(language: str, job: Job, followed: Followed, around: Around, store: JobStore) -> dict[str, Any]:
    """What of a job's page changes with its row: name, what can be done, what is kept, what is said of its
    end."""
    adapter = has_adapter(job, store)
    folder = store.folder(job.id)
    error = wording.error(language, job)
    if error and around.changes:
        error["do"] = text(language, "ui.memory.do")
    return {
        "name": wording.name(language, job),
        "state": str(job.state),
        "ended": job.state in ENDED,
        **buttons(language, job, around.saved is not None),
        "adapter": adapter,
        "further": can_be_parent(job, store),
        "token": around.waits_for_token or wants_token(job),
        "queue": queue(language, job, around),
        "starts": around.starts,
        "silent": text(language, "ui.job.silent", minutes=around.silent) if around.silent else "",
        "kept": keeping.kept(language, job, followed, around.saved),
        "changed": keeping.changed(language, job, followed),
        "chain": keeping.chain(language, around),
        "error": error,
        "figures": memory_plan.figures(language, job) if around.changes else "",
        "plan": memory_plan.shown(language, job, folder, around.changes),
        "details": wording.details(language, job, followed),
        "command": wording.command(folder),
        "next": wording.what_next(language, job, adapter, around.saved is not None),
        "code": wording.code(job, store.home) if adapter else "",
    }


def buttons(language: str, job: Job, saved: bool) -> dict[str, Any]:
    """Labels of what can be done to a job in its state, "" for what can't; `kill`: Stop means it now."""
    can_resume = job.held or job.state in (JobState.STOPPED, JobState.FAILED)
    goes_on = saved or (job.held and not job.attempt)
    labels = {
        "stop": STOP.get(job.state, ""),
        "pause": "ui.job.pause" if job.state in PAUSES and not job.held else "",
        "resume": ("ui.job.resume" if goes_on else "ui.job.resume_anew") if can_resume else "",
    }
    said = {name: text(language, key) if key else "" for name, key in labels.items()}
    return {**said, "kill": job.state is JobState.STOPPING}


def queue(language: str, job: Job, around: Around) -> str:
    """What a queued job waits for; "" for any other."""
    if job.state is not JobState.QUEUED or job.held:
        return ""
    if around.waits_for_token:
        return text(language, "ui.job.queue_token")
    if around.queue_paused:
        return text(language, "ui.job.queue_paused")
    return wording.queue(language, around.before, around.place)


def wants_token(job: Job) -> bool:
    """Whether it failed for want of one."""
    return job.state is JobState.FAILED and job.error is not None and job.error["key"] in WANT_TOKEN


def bar(language: str, job: Job, followed: Followed, waits_for_token: bool) -> list[Any]:
    """What moves while it works: share done, the line under the bar, state, icon."""
    return [
        wording.share(job, followed),
        wording.progress(language, job, followed),
        wording.state(language, job, followed.doing(job), waits_for_token),
        wording.icon(job, waits_for_token),
    ]


def answers(language: str, followed: Followed) -> list[dict[str, Any]]:
    """Each question with the model's answers: before training, and the latest."""
    return [
        {"question": question, "answers": [_answer(language, answer) for answer in said]}
        for question, said in followed.answers.items()
        if said
    ]


def row(
    language: str, job: Job, followed: Followed | None, waits: bool, taken: Taken | None
) -> dict[str, Any]:
    """A job as a row of the list; `followed` of one that works; `taken`: its size, once it is measured."""
    share = wording.share(job, followed) if followed else None
    saved = taken is None or taken.checkpoints > 0
    return {
        "id": job.id,
        "name": wording.name(language, job),
        "state": wording.state(language, job, followed.doing(job) if followed else None, waits),
        "icon": wording.icon(job, waits),
        "share": share,
        "line": wording.progress(language, job, followed) if followed else wording.ended(language, job),
        "model": wording.model(job.config),
        "strength": wording.strength(job.config),
        "created": int(job.created),
        **buttons(language, job, saved),
        "ended": job.state in ENDED,
        "adapter": job.state in ENDED and taken is not None and taken.adapter,
        "size": size(taken.whole) if taken else "",
        "saved": size(taken.checkpoints) if taken and saved else "",
    }


def has_adapter(job: Job, store: JobStore) -> bool:
    """Whether there is something to download."""
    return sizes.has_adapter(store.folder(job.id))


def can_be_parent(job: Job, store: JobStore) -> bool:
    """Whether another job can go on from its adapter."""
    return job.state in ENDED and bool(PARENT.fullmatch(job.id)) and has_adapter(job, store)


def _answer(language: str, answer: Answer) -> list[str]:
    key = "ui.job.after" if answer.step else "ui.job.before"
    return [text(language, key, step=answer.step), answer.answer]
