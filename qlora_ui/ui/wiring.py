"""What moves on the form when: words with every change, presets, the lock, uploads, storage, and Start."""

import json
import re
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr

from qlora_ui import checks, models
from qlora_ui.config import TrainConfig
from qlora_ui.data.examples import Inspection, inspect
from qlora_ui.errors import UserError
from qlora_ui.presets import PRESETS, active
from qlora_ui.texts import error_text, text
from qlora_ui.ui import refill, summary
from qlora_ui.ui.collect import Invalid, Problem, collect
from qlora_ui.ui.context import Context
from qlora_ui.ui.form import Form
from qlora_ui.ui.lock import alpha_that_keeps, held_strength
from qlora_ui.ui.security import is_token

KEPT = re.compile(r"[0-9a-f]{64}(\.[a-z0-9]{1,8})?")
# Cheap answers to each move: no queue, no spinner, and of many moves only the last is answered.
QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
MOVING: dict[str, Any] = {**QUIET, "trigger_mode": "always_last"}


class Wiring:
    """The handlers of one form: plain values in, plain values out."""

    def __init__(self, form: Form, context: Context) -> None:
        self.form = form
        self.language = form.language
        self.context = context
        self.paths = list(form.fields.by_path)

    def connect(self, page: gr.Blocks) -> None:
        """Tie the handlers to the components. `page`: the open Blocks."""
        form = self.form
        fields = list(form.fields.by_path.values())
        changed = [field.change for field in fields]
        everything = [*fields, form.upload]
        words = [
            form.presets, form.preset_words, form.data_words, form.rank_words, form.strength_words, form.side,
            form.parent_words,
        ]  # fmt: skip
        gr.on([*changed, form.upload.change], self.words, everything, words, **MOVING)
        gr.on(
            changed, None, fields, form.store,
            js=f"(...values) => [Object.fromEntries({json.dumps(self.paths)}.map((p, i) => [p, values[i]]))]",
            show_progress="hidden", api_visibility="private",
        )  # fmt: skip
        self._connect_lora()
        form.choose_file.upload(
            self.keep_upload, form.choose_file, [form.upload, form.outcome],
            api_visibility="private", show_progress="hidden",
        ).then(None, js="() => window.qlora.uploaded()")  # fmt: skip
        form.start.click(
            self.start, [*everything, form.token], [form.outcome, form.token],
            concurrency_id="start", api_visibility="private", show_progress="hidden",
        )  # fmt: skip
        form.reset.click(self.reset, None, [*fields, form.upload], **QUIET)
        form.parent.click(self.copied, None, [*fields, form.upload, form.parent_words], **QUIET)
        kept = "(saved) => (window.qlora.asked ? null : saved)"  # else a job was asked for: `copied` fills
        page.load(self.restore, form.store, fields, js=kept, **QUIET).then(
            self.words, everything, words, **QUIET
        )

    def _connect_lora(self) -> None:
        form, by_path = self.form, self.form.fields.by_path
        names = ["lora.r", "lora.lora_alpha", "lora.lora_dropout", "lora.use_rslora", "lora.modules"]
        held = gr.State(0.0)
        r, alpha, rslora, lock = (
            by_path[name] for name in ("lora.r", "lora.lora_alpha", "lora.use_rslora", "lock")
        )
        form.presets.click(
            self.fill, None, [form.presets, *(by_path[name] for name in names)], **QUIET
        ).then(held_strength, [lock, r, alpha, rslora], held, **QUIET)  # fmt: skip
        hold = [lock.change, alpha.input, rslora.input]
        gr.on(hold, held_strength, [lock, r, alpha, rslora], held, **MOVING)
        r.input(follow, [held, r, rslora], alpha, **MOVING)

    def values(self, *raw: Any) -> dict[str, Any]:
        """What the components hold, by field path, with the upload as {path, name} if it is still there."""
        *fields, upload = raw
        values = dict(zip(self.paths, fields, strict=True))
        values["dataset.file"] = self._kept(upload)
        if (parent := refill.parent(self.context.store, values["parent"])) is not None:
            values |= refill.fixed(parent.config)
        return values

    def words(self, *raw: Any) -> list[Any]:
        """The words of data card, preset, r, alpha and panel for the form as it stands."""
        values = self.values(*raw)
        problems: Sequence[Problem] = ()
        try:
            config = self._checked(values)
        except Invalid as error:
            config, problems = error.draft, self._in_order(error.problems)
        known = self.known(config)
        name = active(values["preset"], config.lora)
        missing = any(
            problem.field in ("dataset.file", "dataset.hub") and problem.kind != "rows"
            for problem in problems
        )
        return [
            name,
            summary.preset_words(self.language, config, name),
            summary.data_words(self.language, config, None if missing else known.data),
            summary.rank_words(self.language, config, known.facts),
            summary.strength_words(self.language, config),
            summary.unfinished(self.language, problems)
            if problems
            else summary.side(self.language, config, known),
            self._parent_words(values["parent"]),
        ]

    def copied(self, event: gr.EventData) -> list[Any]:
        """A job was asked for, to do again (`from`) or to go on from its adapter (`further`)."""
        return self.copy(str(event.way), str(event.job))

    def copy(self, way: str, job_id: str) -> list[Any]:
        """The form as that job's was, and for `further` with the job as parent."""
        store = self.context.store
        job = refill.parent(store, job_id) if way == "further" else store.get(job_id)
        if job is None:
            key = "invalid.no_parent" if way == "further" else "ui.job.no_such"
            return [*(gr.skip() for _ in self.paths), gr.skip(), summary.no_parent(self.language, key)]
        values = {**self.form.fields.defaults, **refill.filled(job.config), "name": ""}
        if way == "further":
            values["parent"] = job.id
        words = self._parent_words(values["parent"])
        return [*(values[path] for path in self.paths), refill.upload(store, job.config), words]

    def _parent_words(self, asked: Any) -> str:
        parent = refill.parent(self.context.store, asked)
        return summary.parent_words(self.language, parent, bool(asked))

    def fill(self, event: gr.EventData) -> list[Any]:
        """A preset was pressed: its numbers into the form."""
        preset = PRESETS[event.preset]
        lora = preset.lora
        return [preset.name, lora.r, lora.lora_alpha, lora.lora_dropout, lora.use_rslora, "all-linear"]

    def keep_upload(self, path: str) -> list[Any]:
        """Keep a file that a person chose, so that a reload finds it again."""
        name = Path(path).name
        try:
            kept = self.context.store.keep_upload(Path(path), name)
        except OSError as error:
            what, do = error_text(self.language, "upload_failed", {"name": name, "reason": error.strerror})
            return [gr.skip(), self._refusal([], f"{what} {do}")]
        return [{"key": kept.name, "name": name}, gr.skip()]

    def restore(self, saved: Mapping[str, Any] | None) -> list[Any]:
        """The form as this browser last left it; a field that it does not know keeps its default."""
        saved = saved or {}
        return [saved[path] if path in saved else gr.skip() for path in self.paths]

    def reset(self) -> list[Any]:
        return [*(self.form.fields.defaults[path] for path in self.paths), None]

    def start(self, *raw: Any) -> list[Any]:
        """Start the job, or say beside each field what is wrong; nothing that was typed is lost."""
        *raw_values, token = raw
        values = self.values(*raw_values)
        try:
            config = self._checked(values)
            if (room := self._room(config)) is not None:
                return [self._refusal([], summary.finding(self.language, room)), gr.skip()]
            job = self.context.scheduler.submit(config, _token(config, token))
        except Invalid as error:
            return [self._refusal(self._in_order(error.problems)), gr.skip()]
        except UserError as error:  # the parent's adapter went away this moment
            return [
                self._refusal([], " ".join(error_text(self.language, error.key, error.values))),
                gr.skip(),
            ]
        except OSError as error:
            what, do = error_text(self.language, "not_queued", {"reason": error.strerror or str(error)})
            return [self._refusal([], f"{what} {do}"), gr.skip()]
        return [{"job": job.id, "at": time.time_ns()}, ""]

    def known(self, config: TrainConfig) -> summary.Known:
        """Model facts, what the rows are, and the hardware as it is now."""
        gpus, memory = self.context.scheduler.gpus(), self.context.memory()
        return summary.Known(self._facts(config), self._data(config), gpus, memory, self._room(config))

    def _checked(self, values: Mapping[str, Any]) -> TrainConfig:
        """The config, if all of it can be started. Raises Invalid."""
        problems: list[Problem] = []
        try:
            config = collect(values)
        except Invalid as error:  # the rows are looked at all the same: one refusal names all
            config, problems = error.draft, list(error.problems)
        if config.model.source == "folder" and not self._allowed(Path(config.model.name_or_path)):
            problems.append(Problem("model.folder", "no_folder", {"value": config.model.name_or_path}))
        if config.parent and refill.parent(self.context.store, config.parent) is None:
            problems.append(Problem("parent", "no_parent", {}))
        data = None if any(one.field == "dataset.file" for one in problems) else self._data(config)
        if data is not None and data.problem is not None:
            field = "dataset.file" if config.dataset.source == "file" else "dataset.format"
            what, do = error_text(self.language, data.problem.key, data.problem.values)
            problems.append(Problem(field, "rows", {"what": what, "do": do}))
        if problems:
            raise Invalid(problems, config)
        return config

    def _allowed(self, folder: Path) -> bool:
        return folder.resolve() in models.local_folders(self.context.settings.model_dirs)

    def _facts(self, config: TrainConfig) -> models.ModelFacts | None:
        source, named = config.model.source, config.model.name_or_path
        if source == "demo":
            return models.demo_facts()
        return models.facts(Path(named)) if source == "folder" and self._allowed(Path(named)) else None

    def _room(self, config: TrainConfig) -> checks.Finding | None:
        return checks.room(config, self._facts(config), self.context.settings.home)

    def _data(self, config: TrainConfig) -> Inspection | None:
        if config.dataset.source == "hub":
            return None
        return _inspected(config.dataset.path, config.dataset.name, config.dataset.format)

    def _kept(self, upload: Mapping[str, str] | None) -> dict[str, str] | None:
        """`upload` comes from the browser: only a kept file's own name is taken for one."""
        key = str((upload or {}).get("key", ""))
        path = self.context.settings.home / "data" / key
        if not KEPT.fullmatch(key) or not path.is_file():
            return None
        return {"path": str(path), "name": str((upload or {}).get("name", ""))[:255]}

    def _in_order(self, problems: Sequence[Problem]) -> list[Problem]:
        """As the form stands, from top to bottom."""
        order = {path: index for index, path in enumerate(self.paths)}
        return sorted(problems, key=lambda problem: order.get(problem.field, order["dataset.source"]))

    def _refusal(self, problems: Sequence[Problem], sentence: str = "") -> dict[str, Any]:
        shown = [{"field": one.field, "message": one.message(self.language)} for one in problems]
        sentence = sentence or text(self.language, "ui.start.refused", count=len(shown))
        return {"problems": shown, "sentence": sentence, "at": time.time_ns()}


def _token(config: TrainConfig, typed: str | None) -> str:
    """The token for the Hub, where the job needs anything from it. Raises Invalid for what can be none."""
    token = (typed or "").strip()
    if not token or "hub" not in (config.model.source, config.dataset.source):
        return ""
    if not is_token(token):
        raise Invalid([Problem("model.token", "token", {})], config)
    return token


def follow(strength: float, r: Any, use_rslora: bool) -> Any:
    """The alpha that keeps a locked strength when r has moved."""
    alpha = alpha_that_keeps(strength, r, use_rslora)
    return gr.skip() if alpha is None else alpha


@lru_cache(maxsize=16)
def _inspected(path: str, name: str, format: str) -> Inspection:
    return inspect(Path(path) if path else None, name, format)
