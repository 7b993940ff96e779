"""The charts of a job's page: this list is all there is to change for one more.

`assets/charts.js` draws what is listed here; the worker need not know, since every number the trainer logs is
in the metrics event. Texts: `ui.chart.<name>.{title,none,…}` and `metric.<metric>`.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from qlora_ui.texts import text
from qlora_ui.texts.quantities import number, size
from qlora_ui.ui.series import Series

LEVEL = 0.01  # a change of less than this share is called none


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart: its metrics (the second is drawn dashed) and how its numbers are written."""

    name: str
    metrics: tuple[str, ...]
    large: bool = False
    unit: str = ""  # "bytes": written as a size

    def write(self, value: float) -> str:
        return size(value) if self.unit == "bytes" else number(value)


CHARTS = (
    Chart("loss", ("loss", "eval_loss"), large=True),
    Chart("learning_rate", ("learning_rate",)),
    Chart("grad_norm", ("grad_norm",)),
    Chart("tokens_per_second", ("tokens_per_second",)),
    Chart("memory", ("memory",), unit="bytes"),
)
METRICS = tuple(metric for chart in CHARTS for metric in chart.metrics)


def described(language: str) -> list[dict[str, Any]]:
    """The list as `assets/charts.js` reads it."""
    return [
        {
            **asdict(chart),
            "title": text(language, f"ui.chart.{chart.name}.title"),
            "labels": [text(language, f"metric.{metric}") for metric in chart.metrics],
        }
        for chart in CHARTS
    ]


def sentences(language: str, series: Mapping[str, Series]) -> dict[str, str]:
    """What each chart shows, in a sentence for those who cannot see it; chart's name → sentence."""
    return {chart.name: _sentence(language, chart, series) for chart in CHARTS}


def _sentence(language: str, chart: Chart, series: Mapping[str, Series]) -> str:
    curve = series[chart.metrics[0]]
    if curve.last is None or curve.first is None:
        return text(language, f"ui.chart.{chart.name}.none")
    say = SENTENCES.get(chart.name, _range)
    return say(language, chart, series)


def _range(language: str, chart: Chart, series: Mapping[str, Series]) -> str:
    curve = series[chart.metrics[0]]
    values = [value for _, value in curve]
    return text(
        language,
        f"ui.chart.{chart.name}.range",
        low=chart.write(min(values)),
        high=chart.write(max(values)),
    )


def _loss(language: str, chart: Chart, series: Mapping[str, Series]) -> str:
    train, held_out = (series[metric] for metric in chart.metrics)
    sentence = _course(language, chart, [value for _, value in train])
    if held_out.last is None:
        return text(language, "ui.chart.sentence", sentence=sentence)
    now = chart.write(held_out.last[1])
    clause = text(language, f"ui.chart.loss.held_out.{_trend(held_out)}", now=now, **_best(chart, held_out))
    return text(language, "ui.chart.sentences", sentence=sentence, clause=clause)


def _course(language: str, chart: Chart, values: list[float]) -> str:
    first, last = values[0], values[-1]
    if len(values) == 1:
        return text(language, "ui.chart.loss.starts", first=chart.write(first))
    change = (last - first) / (abs(first) or 1)
    word = "level" if abs(change) < LEVEL else "fell" if change < 0 else "rose"
    return text(language, f"ui.chart.loss.{word}", first=chart.write(first), last=chart.write(last))


def _trend(held_out: Series) -> str:
    points = list(held_out)
    if len(points) == 1:
        return "first"
    best = min(value for _, value in points)
    before, now = points[-2][1], points[-1][1]
    if now > best * (1 + LEVEL):
        return "above"
    return "falling" if now < before * (1 - LEVEL / 4) else "level"


def _best(chart: Chart, held_out: Series) -> dict[str, Any]:
    step, value = min(held_out, key=lambda point: point[1])
    return {"best": chart.write(value), "step": step}


SENTENCES: dict[str, Callable[[str, Chart, Mapping[str, Series]], str]] = {"loss": _loss}
