"""The words that move with the form: what the data holds, what r and alpha do, what Start will do."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from qlora_ui import checks, estimates
from qlora_ui.config import TrainConfig
from qlora_ui.data.examples import Inspection
from qlora_ui.hardware import Gpu, Memory
from qlora_ui.jobs import Job
from qlora_ui.models import ModelFacts
from qlora_ui.presets import PRESETS, strength
from qlora_ui.texts import catalog, error_text, text
from qlora_ui.texts.quantities import number, size
from qlora_ui.ui import wording
from qlora_ui.ui.collect import Problem
from qlora_ui.ui.glossary import marked
from qlora_ui.ui.numbers import count, percent

# What a rank is good for, by the highest rank of each word; rules of thumb after the project's source text
# (general tasks up to 8, complex ones up to 32) and the QLoRA paper (64 for its largest comparisons).
RANKS = ((4, "small"), (8, "general"), (32, "complex"), (128, "large"))


@dataclass(frozen=True, slots=True)
class Known:
    """What is known beside the config at this moment; None: not (yet)."""

    facts: ModelFacts | None
    data: Inspection | None
    gpus: Sequence[Gpu]
    memory: Memory
    room: checks.Finding | None = None  # why the disk cannot take the job


def machine(language: str, gpus: Sequence[Gpu], memory: Memory) -> str:
    """Where a job would run and what is free there, in one line."""
    name, free, total = _device(language, gpus, memory)
    return text(language, "ui.free", name=name, free=size(free), total=size(total))


def data_words(language: str, config: TrainConfig, data: Inspection | None) -> str:
    """What was found in the rows, or what is wrong with them, as HTML."""
    if config.dataset.source == "hub":
        return _hint(text(language, "ui.data.hub"))
    if data is None:
        return _hint(text(language, "ui.data.none"))
    if data.problem is not None:
        what, do = error_text(language, data.problem.key, data.problem.values)
        return f'<p class="finding bad"><b>{escape(what)}</b> {escape(do)}</p>'
    key = "ui.data.found" if data.usable == data.rows else "ui.data.found_some"
    named = text(language, f"field.dataset.format.{data.format}")
    values = {"rows": f"{data.rows:,}", "usable": f"{data.usable:,}", "format": named}
    file = f"<b>{escape(config.dataset.name)}</b> · " if config.dataset.name else ""
    return f'<p class="hint">{file}{marked(language, key, **values)}</p>'


def rank_words(language: str, config: TrainConfig, facts: ModelFacts | None) -> str:
    """What this r trains, costs and is good for, as HTML."""
    word = next((word for most, word in RANKS if config.lora.r <= most), "huge")
    fit = marked(language, f"ui.rank.{word}")
    if facts is None:
        return f"<p>{text(language, 'ui.rank.unknown')}</p><p>{fit}</p>"
    trained = estimates.trainable_parameters(facts, config.lora)
    cost = marked(
        language,
        "ui.rank.cost",
        count=count(language, trained),
        share=percent(trained / facts.total_parameters),
        size=size(estimates.adapter_bytes(facts, config.lora)),
    )
    return f"<p>{cost}</p><p>{fit}</p>"


def strength_words(language: str, config: TrainConfig) -> str:
    """alpha/r as a strength, in words; a warning (with its sign and word) only where it is one."""
    word = strength(config)
    rule = "ui.strength.rslora" if config.lora.use_rslora else "ui.strength.plain"
    scale = marked(language, rule, scale=number(config.scale).rstrip("0").rstrip("."))
    kind = "finding warn" if word in ("faint", "extreme") else "fit"
    return f'<p>{scale}</p><p class="{kind}">{marked(language, f"ui.strength.{word}")}</p>'


def preset_words(language: str, config: TrainConfig, name: str) -> str:
    """Why a preset's numbers, whose they are, and the whole set of them one press away, as HTML.

    For numbers of one's own ("") all values that the source text names."""
    name = name or "own"
    reason = f"<p>{marked(language, f'preset.{name}.reason')}</p>"
    source = f'<p class="source">{marked(language, f"preset.{name}.source")}</p>'
    sets = [preset for preset in PRESETS.values() if preset.chips and name in ("own", preset.name)]
    if not sets:
        return f'<div class="why">{reason}{source}</div>'
    ranks = sorted({r for preset in sets for r in preset.r})
    alphas = sorted({alpha for preset in sets for alpha in preset.lora_alpha})
    chips = _chips("lora.r", "r", ranks, config.lora.r)
    chips += _chips("lora.lora_alpha", "lora_alpha", alphas, config.lora.lora_alpha)
    words = escape(text(language, "ui.preset.values"))
    return f'<div class="why">{reason}<p class="values">{words} {chips}</p>{source}</div>'


def side(language: str, config: TrainConfig, known: Known) -> str:
    """The panel: one sentence, the key facts, what is worth saying before Start."""
    facts = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in _facts(language, config, known)
    )
    found = checks.findings(config, known.gpus, steps(config, known.data), known.facts)
    if known.room is not None:
        found.insert(0, known.room)
    findings = "".join(_finding(language, finding) for finding in found)
    return f'<p class="say">{_sentence(language, config, known)}</p><dl class="kv">{facts}</dl>{findings}'


def parent_words(language: str, parent: Job | None, asked: bool) -> str:
    """Whose adapter the job goes on from, what that fixes and why, and the way out, as HTML; "" if none was
    `asked` for."""
    if not asked:
        return ""
    none = escape(text(language, "ui.parent.none"))
    button = f'<button type="button" class="mini" data-no-parent>{none}</button>'
    if parent is None:
        return f'<p class="finding bad">{escape(text(language, "invalid.no_parent"))} {button}</p>'
    said = marked(language, "ui.parent", name=wording.name(language, parent))
    return f'<p class="finding note">{said} {button}</p>'


def no_parent(language: str, key: str) -> str:
    """Why the form was not filled, as HTML."""
    return f'<p class="finding bad" role="alert">{escape(text(language, key))}</p>'


def unfinished(language: str, problems: Sequence[Problem]) -> str:
    """The panel while the form holds what cannot be started."""
    first = problems[0]
    name = catalog(language).get(f"field.{first.field}.label", first.field)
    said = marked(language, "ui.say.first", field=name, message=first.message(language))
    return (
        f'<p class="say">{escape(text(language, "ui.say.unfinished"))}</p><p class="finding note">{said}</p>'
    )


def model_name(language: str, config: TrainConfig) -> str:
    if config.model.source == "demo":
        return text(language, "ui.model.demo_name")
    return config.model.name_or_path.rstrip("/").rsplit("/", 1)[-1]


def split_rows(config: TrainConfig, data: Inspection | None) -> tuple[int, int] | None:
    """(rows to learn from, rows held out), None while the rows are not known."""
    if data is None or data.problem is not None:
        return None
    held = estimates.held_out(data.usable, config.dataset.eval_share)
    return data.usable - held, held


def finding(language: str, found: checks.Finding) -> str:
    """What was found and what would mend it, as text."""
    return " ".join(_said(language, found))


def steps(config: TrainConfig, data: Inspection | None) -> int | None:
    """How many it will take, None while the rows are not known."""
    split = split_rows(config, data)
    return estimates.steps(split[0], config, data.length) if split and data else None


def _sentence(language: str, config: TrainConfig, known: Known) -> str:
    split = split_rows(config, known.data)
    values = {"model": model_name(language, config), "rows": f"{split[0]:,}" if split else ""}
    values["name"] = config.dataset.path if config.dataset.source == "hub" else config.dataset.name
    if config.trainer.max_steps > 0:
        times, values["steps"] = "steps", f"{config.trainer.max_steps:,}"
    else:
        epochs = config.trainer.num_train_epochs
        times = f"times_{epochs:g}" if epochs in (1, 2, 3) else "times"
        values["epochs"] = f"{epochs:g}"
    return marked(language, f"ui.say.{'rows' if split else 'unknown'}.{times}", **values)


def _facts(language: str, config: TrainConfig, known: Known) -> list[tuple[str, str]]:
    found = []
    if split := split_rows(config, known.data):
        found.append((text(language, "ui.fact.rows"), f"{split[0]:,}"))
        found.append((text(language, "ui.fact.held_out"), f"{split[1]:,}"))
        found.append((text(language, "ui.fact.steps"), f"{steps(config, known.data):,}"))
    if known.facts is not None:
        trained = estimates.trainable_parameters(known.facts, config.lora)
        found.append((text(language, "ui.fact.trained"), count(language, trained)))
    where, free, total = _device(language, known.gpus, known.memory)
    found.append((text(language, "ui.fact.where"), where))
    of = text(language, "ui.of", part=size(free), whole=size(total))
    return [*found, (text(language, "ui.fact.free"), of)]


def _device(language: str, gpus: Sequence[Gpu], memory: Memory) -> tuple[str, int, int]:
    """(name, free bytes, all bytes) of where the next job would run: the GPU with most room, or the CPU."""
    if not gpus:
        return text(language, "ui.cpu"), memory.available, memory.total
    gpu = max(gpus, key=lambda gpu: gpu.free)
    return gpu.name, gpu.free, gpu.total


def _hint(sentence: str) -> str:
    return f'<p class="hint">{escape(sentence)}</p>'


def _chips(path: str, name: str, values: Sequence[int], now: int) -> str:
    buttons = "".join(
        f'<button type="button" class="mini" data-field="{path}" data-value="{value}"'
        f' aria-label="{name} {value}" aria-pressed="{str(value == now).lower()}">{value}</button>'
        for value in values
    )
    return f'<span class="set"><code>{name}</code>{buttons}</span>'


def _finding(language: str, finding: checks.Finding) -> str:
    what, do = _said(language, finding)
    level = "bad" if finding.level == "refuse" else finding.level
    return f'<p class="finding {level}"><b>{escape(what)}</b> {escape(do)}</p>'


def _said(language: str, finding: checks.Finding) -> list[str]:
    return [text(language, f"check.{finding.key}.{part}", **finding.values) for part in ("what", "do")]
