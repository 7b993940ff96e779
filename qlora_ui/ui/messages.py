"""What a page is sent of a job, in its language. Keys of a message (`assets/monitor.js` reads them), all
optional: `all` drop what you have, this is everything · `cut` drop points above that step · `pts` points,
each [step, value per metric…] · `log` [time, level, sentence] · `bar` [share, line, state, icon] · `say` a
sentence per chart · `answers` · `job` the job's row and what depends on it · `gone` the job was deleted.
"""

from typing import Any

import orjson

from qlora_ui.events import Attempt, Event, Failure, Log, Metrics
from qlora_ui.ui import charts, view, wording
from qlora_ui.ui.follow import Followed, Line, finite, log_line


def everything(language: str, followed: Followed) -> dict[str, Any]:
    """For a page that knows nothing, or nothing that is still true."""
    curves = {name: [[_short(x), _short(y)] for x, y in curve] for name, curve in followed.series.items()}
    return {
        "all": curves,
        "log": [_line(language, line) for line in followed.log],
        "answers": view.answers(language, followed),
    }


def news(language: str, events: list[Event]) -> dict[str, Any]:
    """Points and log lines of some events. Points that a later attempt takes back are not among them."""
    message: dict[str, Any] = {}
    points: list[list[Any]] = []
    for event in events:
        if isinstance(event, Attempt):
            message["cut"] = min(event.from_step, message.get("cut", event.from_step))
            points = [point for point in points if point[0] <= event.from_step]
        elif isinstance(event, Metrics):
            points.append(_point(event))
        if (line := log_line(event)) is not None:
            message.setdefault("log", []).append(_line(language, line))
    if points:
        message["pts"] = points
    return message


def _point(event: Metrics) -> list[Any]:
    values = finite(event)
    row = [event.step, *(_short(values[name]) if name in values else None for name in charts.METRICS)]
    while row[-1] is None:
        row.pop()
    return row


def _short(value: float) -> float:
    return value if isinstance(value, int) else float(f"{value:.5g}")


def _line(language: str, line: Line) -> list[Any]:
    level = line.level if isinstance(line, Log) else "warning" if isinstance(line, Failure) else "info"
    return [int(line.time), level, wording.log_line(language, line)]


def sse(offset: int, message: dict[str, Any]) -> bytes:
    return b"id: %d\ndata: %s\n\n" % (offset, orjson.dumps(message))
