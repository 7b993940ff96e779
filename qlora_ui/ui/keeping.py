"""What a job keeps, in the reader's language: its last checkpoint, which adapter it offers, what it does
otherwise than was chosen, and whom it goes on from."""

from typing import Any

from qlora_ui.checkpoints import Checkpoint
from qlora_ui.jobs import Job, JobState
from qlora_ui.texts import text
from qlora_ui.ui import memory_plan, wording
from qlora_ui.ui.around import Around
from qlora_ui.ui.follow import Followed

KEEPS = (JobState.RUNNING, JobState.STOPPING, JobState.FAILED, JobState.STOPPED)


def kept(language: str, job: Job, followed: Followed, saved: Checkpoint | None) -> list[dict[str, Any]]:
    """Sentences with the time they speak of, as the page's script says it: "2 min ago"."""
    found = []
    if saved is not None and job.state is not JobState.FINISHED:
        sentence = text(language, "ui.job.saved", step=f"{saved.step:,}", ago="{ago}")
        found.append({"said": sentence, "at": saved.time})
    elif saved is None and (job.held or job.state in KEEPS):
        running = job.state in (JobState.RUNNING, JobState.STOPPING)
        found.append({"said": text(language, "ui.job.saved_none" if running else "ui.job.saved_none_ended")})
    if adapter := best(language, followed):
        found.append({"said": adapter})
    return found


def best(language: str, followed: Followed) -> str:
    """Which step's adapter is offered, where several were measured: the best one, or a Stop's last."""
    adapter, measured = followed.artifacts.get("adapter"), list(followed.series["eval_loss"])
    if adapter is None or not adapter.step or len(measured) < 2:
        return ""
    lowest = min(value for _, value in measured)
    values = {"step": f"{adapter.step:,}", "count": len(measured)}
    is_best = any(step == adapter.step and value == lowest for step, value in measured)
    if is_best:
        return text(language, "ui.job.adapter_best", **values)
    lowest_at = next(step for step, value in measured if value == lowest)
    return text(language, "ui.job.adapter_of", step=values["step"], best=f"{lowest_at:,}")


def changed(language: str, job: Job, followed: Followed) -> str:
    """What the job does otherwise than was chosen, and why: "" while it does as chosen."""
    if not job.overrides or job.state is JobState.FAILED:
        return ""
    said = memory_plan.described(language, job.overrides, job.config)
    faults = (followed.before, followed.failure)
    ran_out = any(fault and fault.key in memory_plan.ERRORS for fault in faults)
    return text(language, "ui.job.changed_memory" if ran_out else "ui.job.changed", changes=said)


def chain(language: str, around: Around) -> list[dict[str, str]]:
    """The job that this one goes on from and those that go on from it, as links."""
    links = [(around.parent, "ui.job.parent")] if around.parent else []
    links += [(child, "ui.job.child") for child in around.children]
    return [
        {"said": text(language, key), "name": wording.name(language, other), "id": other.id}
        for other, key in links
    ]
