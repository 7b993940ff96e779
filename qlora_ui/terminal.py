"""A job in a terminal: its progress as a bar or as plain lines, in the reader's language."""

import os
import signal
import sys
import threading
import time
import webbrowser
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from tqdm import tqdm

from qlora_ui import attempts, owner
from qlora_ui.errors import UserError
from qlora_ui.events import Answer, Artifact, Event, EventReader, Log, Metrics, Phase
from qlora_ui.jobs import ACTIVE, ENDED, Job, JobState
from qlora_ui.launchers.base import Launcher, Life, Poll
from qlora_ui.outcome import again, outcome
from qlora_ui.presets import short_demo_config
from qlora_ui.scheduler import Scheduler
from qlora_ui.texts import catalog, error_text, text
from qlora_ui.texts.quantities import number, size, spoken
from qlora_ui.texts.spoken import language

LOOK = 0.2  # seconds between two looks at the events
tqdm.monitor_interval = 0  # no thread of its own
PLAIN_LINES = 20  # about so many lines of progress, where there is no terminal to draw a bar in


def say(words: str) -> None:
    """Print a sentence, above the bar if there is one. Where nobody reads any more (`… | head`), silently."""
    try:
        # A model's answer or a file's name must not steer the terminal.
        tqdm.write("".join(c if c.isprintable() or c == "\n" else "�" for c in words), file=sys.stdout)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Screen:
    """Prints the events of one job, those to come: what was told before, others have shown."""

    def __init__(self, folder: Path, language: str, old: int = 0) -> None:
        self._reader = EventReader(folder / "events.jsonl", old)
        self._folder = folder
        self._language = language
        self._draws = sys.stdout.isatty()
        self._bar: tqdm | None = None
        self._phase = Phase("")
        self._printed = 0  # step of the last plain line
        self._answers: dict[str, list[Answer]] = {}

    def update(self) -> None:
        """Print what was written since the last time."""
        for event in self._reader.read():
            self._show(event)

    def close(self) -> None:
        """Print the answers before and after, and end the bar."""
        self.hide()
        for question, answers in self._answers.items():
            before, after = answers[0], answers[-1]
            if before.step != after.step:
                self.say("cli.answers", question=question, before=before.answer, after=after.answer)

    def say(self, key: str, **values: object) -> None:
        say(text(self._language, key, **values))

    def _show(self, event: Event) -> None:
        match event:
            case Phase():
                self._progress(event)
            case Metrics():
                self._metrics(event)
            case Log():
                self._log(event)
            case Answer():
                self._answers.setdefault(event.question, []).append(event)
            case Artifact(kind="adapter"):
                self.say("cli.adapter", path=self._folder / event.path, size=size(event.size))

    def _progress(self, phase: Phase) -> None:
        if phase.name == "evaluating" and self._phase.name == "training":
            return  # a short look aside: the bar of the training stays
        if phase.name != self._phase.name:
            self.hide()
            if not (self._draws and phase.total):
                self.say("cli.phase", phase=self._name(phase))
        self._phase = phase
        if self._draws and phase.total:
            bar = self._bar or self._new_bar(phase)
            bar.total, bar.n = phase.total, phase.done
            bar.refresh()

    def _new_bar(self, phase: Phase) -> tqdm:
        in_bytes = phase.unit == "bytes"
        self._bar = tqdm(
            total=phase.total,
            initial=phase.done,
            desc=self._name(phase),
            unit="B" if in_bytes else "",
            unit_scale=in_bytes,
            dynamic_ncols=True,
            leave=phase.name == "training",
            file=sys.stdout,
        )
        return self._bar

    def _metrics(self, event: Metrics) -> None:
        training = self._phase.name == "training"
        if training and self._bar is not None:
            known = {name: number(value) for name, value in event.values.items() if "loss" in name}
            self._bar.n = event.step
            self._bar.set_postfix(known, refresh=True)
        elif not self._draws:
            self._metrics_line(event)

    def _metrics_line(self, event: Metrics) -> None:
        total = self._phase.total if self._phase.name == "training" else 0
        last = event.step == total
        if "eval_loss" in event.values:
            self.say("cli.held_out", step=event.step, loss=number(event.values["eval_loss"]))
        elif "loss" in event.values and (last or event.step - self._printed >= total / PLAIN_LINES):
            self._printed = event.step
            self.say("cli.step", step=event.step, total=total or "?", loss=number(event.values["loss"]))

    def _log(self, event: Log) -> None:
        try:
            line = text(self._language, f"log.{event.key}", **event.values)
        except (KeyError, IndexError, ValueError):  # written by a version that has other sentences
            line = f"{event.key} {event.values}"
        say(line)

    def _name(self, phase: Phase) -> str:
        return catalog(self._language).get(f"phase.{phase.name}", phase.name)

    def hide(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class Interrupts:
    """Counts Ctrl-C from now on: acted on between two looks, not amid the drawing of a bar."""

    def __init__(self) -> None:
        self.count = 0
        self.passed_on = 0  # of them, to a worker
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, self._count)

    def _count(self, signum: int, frame: FrameType | None) -> None:
        self.count += 1


def run(launcher: Launcher, folder: Path, attempt: int, interrupts: Interrupts) -> int:
    """Start an attempt and show it to its end, and those after it that start by themselves. Ctrl-C saves and
    stops, a second one kills. Returns the exit code. Raises OSError where nothing can be started."""
    events = folder / "events.jsonl"
    screen = Screen(folder, language(), events.stat().st_size if events.exists() else 0)
    overrides = attempts.overrides(folder, attempt - 1)
    while True:
        attempts.write(folder, attempt, overrides)
        poll = _follow(launcher, launcher.submit(folder, attempt, {}), screen, interrupts)
        added = None if interrupts.count else again(folder, attempt, poll)
        if added is None:
            break
        overrides |= added
        attempt += 1
        screen.hide()
        if added:
            screen.say("cli.again", micro_batch=overrides.get(attempts.MICRO_BATCH))
    screen.close()
    state, fields = outcome(folder, attempt, poll.code, asked=interrupts.count > 0)
    _say_end(screen, state, fields, folder)
    codes = {JobState.FINISHED: owner.EXIT_FINISHED, JobState.STOPPED: owner.EXIT_STOPPED}
    return codes.get(state, owner.EXIT_FAILED)


def _follow(launcher: Launcher, handle: str, screen: Screen, interrupts: Interrupts) -> Poll:
    """Show one attempt to its end."""
    while (poll := launcher.poll([handle])[handle]).life not in (Life.ENDED, Life.LOST):
        if interrupts.count > interrupts.passed_on:
            screen.say("cli.killing" if interrupts.passed_on else "cli.stopping")
            launcher.stop(handle, force=interrupts.passed_on > 0)
            interrupts.passed_on += 1
        screen.update()
        time.sleep(LOOK)
    screen.update()
    return poll


class Doorman:
    """What `app.py` says in the terminal: where the page is, and with `demo` the progress of its demo job."""

    def __init__(self, scheduler: Scheduler, demo: bool) -> None:
        self._scheduler = scheduler
        self._demo = demo
        self._closing = threading.Event()
        self._watching: threading.Thread | None = None

    def opened(self, address: str) -> None:
        """The page answers at `address`: say so, show it, start the demo."""
        job = self._demo_job() if self._demo else None
        address = f"{address.rstrip('/')}/" + (f"?job={job.id}" if job else "")
        print(text(language(), "cli.address", address=address), flush=True)
        if has_display():
            webbrowser.open(address)
        if job:
            self._watching = threading.Thread(target=self._watch, args=[job.id], name="terminal")
            self._watching.start()

    def close(self) -> None:
        self._closing.set()
        if self._watching is not None:
            self._watching.join()
        print(text(language(), "cli.jobs_go_on"), flush=True)

    def _demo_job(self) -> Job:
        """The demo job that is on its way already, or a new one."""
        config = short_demo_config()
        begun = self._scheduler.store.all([JobState.QUEUED, *ACTIVE])
        found = next((job for job in begun if job.config == config), None)
        try:
            return found or self._scheduler.submit(config)
        except OSError as error:
            home = self._scheduler.store.home
            raise UserError("home_unwritable", home=str(home), reason=error.strerror or str(error)) from error

    def _watch(self, job_id: str) -> None:
        """Show a job to its end, or until it is deleted or the page closes."""
        store = self._scheduler.store
        screen = Screen(store.folder(job_id), language())
        while (job := store.get(job_id)) is not None and job.state not in ENDED:
            screen.update()
            if self._closing.wait(LOOK):
                return screen.hide()
        screen.update()
        screen.close()
        if job is not None:
            _say_end(screen, job.state, {"reason": job.reason, "error": job.error}, store.folder(job_id))


def has_display(env: Mapping[str, str] = os.environ) -> bool:
    """Whether a browser could open here."""
    return bool(env.get("DISPLAY") or env.get("WAYLAND_DISPLAY"))


def _say_end(screen: Screen, state: JobState, fields: Mapping[str, Any], folder: Path) -> None:
    if error := fields.get("error"):
        what, todo = _reason(error["key"], error["values"])
        screen.say("cli.failed", what=what, todo=todo, log=folder / "worker.log")
    else:
        screen.say(f"state.{state}.{fields['reason']}" if state is JobState.STOPPED else f"state.{state}")


def _reason(key: str, values: dict[str, Any]) -> tuple[str, str]:
    try:
        return error_text(language(), key, spoken(language(), values))
    except (KeyError, IndexError, ValueError):  # of a version that has other sentences
        return f"{key} {values}", ""
