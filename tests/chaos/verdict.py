"""Whether a job came through: finished once, with curve and adapter of a run that nobody disturbed."""

import json
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy
from safetensors.numpy import load_file

from qlora_ui.events import Attempt, Ended, Environment, EventReader, Metrics

NEAR = 1e-4  # losses and weights that far apart are the same


@dataclass
class Record:
    """What a job's events say. `loss`, `held_out`: by step, without points that a later attempt took back."""

    loss: dict[int, float] = field(default_factory=dict)
    held_out: dict[int, float] = field(default_factory=dict)
    attempts: int = 0
    dtype: str = ""  # in which the last attempt computed
    twice: list[int] = field(default_factory=list)  # steps that are in one course two times


def record(folder: Path) -> Record:
    found = Record()
    for event in EventReader(folder / "events.jsonl").read():
        if isinstance(event, Attempt):
            found.attempts += 1
            for curve in (found.loss, found.held_out):
                for step in [step for step in curve if step > event.from_step]:
                    del curve[step]
        elif isinstance(event, Environment):
            found.dtype = event.dtype
        elif isinstance(event, Metrics):
            for name, curve in (("loss", found.loss), ("eval_loss", found.held_out)):
                if name in event.values:
                    if event.step in curve:
                        found.twice.append(event.step)
                    curve[event.step] = event.values[name]
    return found


def finishes(folder: Path) -> int:
    """How many attempts finished: by the worker's parent, or, where that was killed, in its own last word."""
    codes: dict[int, int] = {}
    number = 0
    for event in EventReader(folder / "events.jsonl").read():
        if isinstance(event, Attempt):
            number = event.number
        elif isinstance(event, Ended):
            codes[number] = event.code
    for path in folder.glob("exit.*.json"):
        with suppress(ValueError, OSError):
            codes[int(path.name.split(".")[1])] = json.loads(path.read_bytes())["code"]
    return list(codes.values()).count(0)


def faults_of(job: Path, undisturbed: Path, cuts: int) -> list[str]:
    """What does not hold of a job; `cuts`: lines that a fault took from its events."""
    wrong = []
    ran, meant = record(job), record(undisturbed)
    if ran.dtype != meant.dtype:
        wrong.append(f"computed in {ran.dtype} instead of {meant.dtype}")
    if (count := finishes(job)) != 1:
        wrong.append(f"finished {count} times")
    for name, curve, other in (
        ("loss", ran.loss, meant.loss),
        ("held-out loss", ran.held_out, meant.held_out),
    ):
        wrong += _apart(name, curve, other)
    lacks = (meant.loss.keys() - ran.loss.keys()) | (meant.held_out.keys() - ran.held_out.keys())
    if len(lacks) > cuts:
        wrong.append(f"steps {sorted(lacks)} are not on its curve")
    if ran.twice:
        wrong.append(f"steps {ran.twice} are on its curve twice")
    return wrong + _adapter(job, undisturbed)


def _apart(name: str, curve: dict[int, float], other: dict[int, float]) -> list[str]:
    if extra := curve.keys() - other.keys():
        return [f"{name} at steps {sorted(extra)}, which there are not"]
    far = {step: abs(curve[step] - other[step]) for step in curve if abs(curve[step] - other[step]) > NEAR}
    return [f"{name} differs by {max(far.values()):.2g}, first at step {min(far)}"] if far else []


def _adapter(job: Path, undisturbed: Path) -> list[str]:
    try:
        ours, other = (load_file(at / "adapter" / "adapter_model.safetensors") for at in (job, undisturbed))
    except Exception as error:  # not there, or torn: safetensors has errors of its own
        return [f"adapter: {error}"]
    if ours.keys() != other.keys():
        return ["adapter: other weights"]
    far = max(float(numpy.abs(ours[name] - other[name]).max()) for name in ours)
    return [f"adapter differs by {far:.2g}"] if far > NEAR else []
