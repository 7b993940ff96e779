"""What a job's page says of a job, in the reader's language: state, progress, details, log lines."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from qlora_ui.config import TrainConfig
from qlora_ui.events import Attempt, Failure, Log, Metrics, Phase
from qlora_ui.jobs import ENDED, Job, JobState
from qlora_ui.models import demo_folder
from qlora_ui.texts import catalog, error_text, text
from qlora_ui.texts.quantities import duration, number, size, spoken
from qlora_ui.ui.follow import Followed, Line
from qlora_ui.ui.numbers import count, percent

LINE = 2000  # letters of a log line; what is longer is in worker.log
ICONS = {
    JobState.QUEUED: "waiting",
    JobState.FINISHED: "done",
    JobState.FAILED: "failed",
    JobState.STOPPED: "stopped",
}


def name(language: str, job: Job) -> str:
    """What a person called the job, or what it trains."""
    return job.name or f"{model(job.config)} · {data(language, job.config)}"


def model(config: TrainConfig) -> str:
    if config.model.source == "folder":
        return Path(config.model.name_or_path).name
    return config.model.name_or_path


def data(language: str, config: TrainConfig) -> str:
    dataset = config.dataset
    if dataset.source == "demo":
        return text(language, "ui.job.demo_data")
    return dataset.path if dataset.source == "hub" else dataset.name or Path(dataset.path).name


def strength(config: TrainConfig) -> str:
    """`8 · 16 (×2)`."""
    return f"{config.lora.r} · {config.lora.lora_alpha} (×{config.scale:.3g})"


def state(language: str, job: Job, phase: Phase | None = None, waits_for_token: bool = False) -> str:
    """The state in a word or two; of a running job, its phase."""
    if waits_for_token:
        return text(language, "ui.job.needs_token")
    if job.held:
        return text(language, "ui.job.paused")
    if job.after_stop == "pause":
        return text(language, "ui.job.pausing")
    if job.state == JobState.STOPPED:
        return text(language, f"state.stopped.{job.reason or 'user'}")
    if job.state == JobState.RUNNING and phase:
        doing = catalog(language).get(f"phase.{phase.name}", phase.name)
        return doing[:1].upper() + doing[1:]
    return text(language, f"state.{job.state}")


def icon(job: Job, waits_for_token: bool = False) -> str:
    if job.held:
        return "paused"
    return "key" if waits_for_token else ICONS.get(job.state, "busy")


def share(job: Job, followed: Followed) -> float | None:
    """How much is done, 0 to 1; None while nobody can know."""
    if job.state == JobState.FINISHED:
        return 1.0
    phase = followed.phase if job.state != JobState.QUEUED else None
    if followed.training and followed.training.total:
        return min(1.0, _step(followed) / followed.training.total)
    if phase and phase.total and job.state not in ENDED:
        return min(1.0, phase.done / phase.total)
    return 0.0 if job.state in (*ENDED, JobState.QUEUED) else None


def progress(language: str, job: Job, followed: Followed) -> str:
    """The line under the bar: how far, how long."""
    parts = _steps(language, job, followed) if followed.training else []
    if job.held:
        parts.append(text(language, "ui.job.paused_line"))
    elif job.state == JobState.QUEUED:
        return ""
    elif job.state in ENDED:
        parts += filter(None, [ended(language, job)])
    elif job.state is JobState.STOPPING:
        parts.append(text(language, "ui.job.stopping"))
    elif followed.training and followed.phase and followed.phase.name == "training":
        parts.append(_left(language, followed))
    elif followed.phase:
        parts += _phase(language, followed.phase)
    return " · ".join(parts)


def _step(followed: Followed) -> int:
    return followed.metrics.step if followed.metrics else 0


def _steps(language: str, job: Job, followed: Followed) -> list[str]:
    total = followed.training.total if followed.training else 0
    step = text(language, "ui.job.step", step=f"{_step(followed):,}", total=f"{total:,}")
    if not followed.metrics:
        return [step]
    trainer = job.config.trainer
    epoch = f"{followed.metrics.epoch:.1f}"
    if trainer.max_steps > 0:
        return [step, text(language, "ui.job.epoch", epoch=epoch)]
    return [step, text(language, "ui.job.epoch_of", epoch=epoch, total=f"{trainer.num_train_epochs:g}")]


def left(followed: Followed) -> float | None:
    """Seconds until all steps are done, from the pace of this attempt; None while it is not known."""
    began, now, training = followed.began, followed.metrics, followed.training
    if not began or not now or not training or now.step <= began.step:
        return None
    return (now.time - began.time) / (now.step - began.step) * (training.total - now.step)


def _left(language: str, followed: Followed) -> str:
    seconds = left(followed)
    if seconds is None:
        return text(language, "ui.job.measuring")
    return text(language, "ui.job.left", time=duration(language, seconds))


def _phase(language: str, phase: Phase) -> list[str]:
    """`123 MB of 400 MB · 12 MB a second · 23 s left`, as far as it is known."""
    in_bytes = phase.unit == "bytes"
    done, total = (size(n) if in_bytes else f"{n:,}" for n in (phase.done, phase.total))
    parts = []
    if phase.total:
        parts = [text(language, "ui.job.of", done=done, total=total)]
    elif phase.done:
        parts = [done]
    if phase.rate > 0 and in_bytes:
        parts.append(text(language, "ui.job.rate", rate=size(phase.rate)))
    if phase.rate > 0 and phase.total > phase.done:
        left = duration(language, (phase.total - phase.done) / phase.rate)
        parts.append(text(language, "ui.job.left", time=left))
    return parts or [text(language, "ui.job.a_moment")]


def ended(language: str, job: Job) -> str:
    """How long an ended job took; nothing of one that never started."""
    if not job.started or not job.ended:
        return ""
    key = "ui.job.took" if job.attempt == 1 else "ui.job.took_last"  # of several attempts
    return text(language, key, time=duration(language, job.ended - job.started))


def queue(language: str, waiting: Sequence[Job], place: int) -> str:
    """What a queued job waits for; `waiting`: the jobs before it, those that run first."""
    if not waiting:
        return text(language, "ui.job.next")
    first = name(language, waiting[0])
    if len(waiting) == 1:
        return text(language, "ui.job.behind_one", name=first)
    return text(language, "ui.job.behind", place=place, count=len(waiting), name=first)


def error(language: str, job: Job) -> dict[str, str] | None:
    """What happened and what to do; of a failure this version has no sentence for, its key and values."""
    if job.state != JobState.FAILED:
        return None
    fault = job.error or {}
    key, values = str(fault.get("key", "")), fault.get("values") or {}
    try:
        what, todo = error_text(language, key, spoken(language, values))
    except (KeyError, IndexError, ValueError, TypeError):
        said = ", ".join(f"{name}: {value}" for name, value in values.items())
        what = text(language, "ui.job.unknown_error", said=" · ".join(filter(None, (key, said))))
        todo = text(language, "ui.job.unknown_error_do")
    return {"what": what, "do": todo}


def log_line(language: str, line: Line) -> str:
    """A line's sentence; of one that this version has no sentence for, its own words."""
    try:
        said = _said(language, line)
    except (KeyError, IndexError, ValueError, TypeError):
        values = line.values.items() if isinstance(line, Log | Metrics | Failure) else ()
        key = line.key if isinstance(line, Log | Failure) else type(line).__name__.lower()
        said = " ".join([key, *(f"{name}={value}" for name, value in values)])
    return said if len(said) <= LINE else said[:LINE] + "…"


def _said(language: str, line: Line) -> str:
    match line:
        case Log():
            return text(language, f"log.{line.key}", **line.values)
        case Attempt():
            key = "log.attempt" if line.from_step else "log.attempt_anew"
            return text(language, key, number=line.number, step=f"{line.from_step:,}")
        case Failure():
            return " ".join(error_text(language, line.key, spoken(language, line.values)))
        case Phase():
            return text(language, "log.phase", phase=text(language, f"phase.{line.name}"))
        case Metrics():
            name = "loss" if "loss" in line.values else "eval_loss"
            return text(language, f"log.{name}", step=f"{line.step:,}", loss=number(line.values[name]))


def details(language: str, job: Job, followed: Followed) -> list[tuple[str, str]]:
    """What it is doing, as label and value."""
    rows = [
        ("model", model(job.config)),
        ("data", data(language, job.config)),
        ("strength", strength(job.config)),
    ]
    if where := followed.environment:
        threads = text(language, "ui.job.threads", threads=where.threads) if where.threads else ""
        quantised = catalog(language).get(f"ui.quantization.{where.quantization}", where.quantization)
        rows += [("where", where.device + threads), ("numbers", f"{quantised} · {where.dtype}")]
        part = where.trainable_parameters / max(1, where.total_parameters)
        rows.append(("trains", f"{count(language, where.trainable_parameters)} ({percent(part)})"))
    return [(text(language, f"ui.detail.{key}"), value) for key, value in rows]


def command(folder: Path) -> str:
    """The same job without a page, in the same home."""
    config, home = (shlex.quote(str(path)) for path in (folder / "config.json", folder.parent.parent))
    return f"python -m qlora_ui train {config} --home {home}"


def what_next(language: str, job: Job, adapter: bool, saved: bool) -> str:
    """What a person can do with the job now."""
    if job.state not in ENDED:
        return text(language, "ui.job.next_wait")
    if job.state is JobState.FINISHED:
        return text(language, "ui.job.next_done")
    ending = "failed" if job.state is JobState.FAILED else "stopped"
    left = {(True, True): "_kept", (True, False): "_adapter", (False, True): "_saved", (False, False): ""}
    return text(language, f"ui.job.next_{ending}{left[adapter, saved]}")


def code(job: Job, home: Path) -> str:
    """How an adapter is loaded onto its model."""
    chosen = job.config.model
    base = str(demo_folder(home)) if chosen.source == "demo" else chosen.name_or_path
    return (
        "from peft import PeftModel\n"
        "from transformers import AutoModelForCausalLM\n\n"
        f"model = AutoModelForCausalLM.from_pretrained({base!r})\n"
        "model = PeftModel.from_pretrained(model, 'adapter')"
    )
