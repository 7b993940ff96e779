"""events.jsonl → what a page shows: whole, bounded, and the same whatever way the file was read."""

import json
from dataclasses import asdict
from pathlib import Path
from unittest.mock import patch

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qlora_ui.events import Answer, Attempt, Event, EventWriter, Log, Metrics, Phase
from qlora_ui.ui import follow
from qlora_ui.ui.follow import LOG_LINES, RECENT, Followed
from qlora_ui.ui.messages import news
from qlora_ui.ui.series import Series


def write(path: Path, *events: Event) -> None:
    writer = EventWriter(path)
    for event in events:
        writer.append(event)
    writer.close()


def step(number: int, loss: float = 1.0) -> Metrics:
    return Metrics(number, number / 10, {"loss": loss})


def shown(followed: Followed) -> object:
    """All that a page is shown, to compare two readings."""
    return (
        {name: list(curve) for name, curve in followed.series.items()},
        [line for line in followed.log if not isinstance(line, Metrics)],  # near ones only are kept
        followed.phase,
        followed.answers,
        followed.metrics and followed.metrics.step,
        followed.offset,
    )


def test_a_long_curve_keeps_its_spikes_its_ends_and_few_points() -> None:
    series = Series(limit=1000)
    values = {step: 1 / step for step in range(1, 100_001)} | {54_321: 99.0, 77_777: -5.0}
    for at, value in values.items():
        series.add(at, value)
    points = list(series)
    assert 400 < len(points) <= 1000
    assert points == sorted(points)
    assert {(1, 1.0), (54_321, 99.0), (77_777, -5.0), (100_000, 1e-5)} <= set(points)


def test_a_short_curve_is_kept_whole() -> None:
    series = Series(limit=1000)
    for at in range(1, 499):
        series.add(at, at % 7)
    assert list(series) == [(at, at % 7) for at in range(1, 499)]


@given(
    st.lists(st.tuples(st.integers(0, 5000), st.floats(-1e6, 1e6))), st.integers(4, 60), st.integers(0, 5000)
)
def test_any_curve_is_bounded_and_made_of_its_own_points(
    points: list[tuple[int, float]], limit: int, cut: int
) -> None:
    points.sort(key=lambda point: point[0])
    series = Series(limit)
    for at, value in points:
        series.add(at, value)
    kept = list(series)
    assert len(kept) <= limit
    assert set(kept) <= set(points)
    if points:
        assert series.last == points[-1]
        assert max(value for _, value in kept) == max(value for _, value in points)
        assert min(value for _, value in kept) == min(value for _, value in points)
    series.cut(cut)
    assert list(series) == [point for point in kept if point[0] <= cut]


def test_a_later_attempt_takes_back_what_it_does_again(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    write(path, Attempt(1), Phase("training", 0, 30, "steps"), *(step(n, 2.0) for n in range(1, 21)))
    write(path, Answer(0, "q", "base"), Answer(18, "q", "new"))
    followed = Followed(path)
    followed.read()
    write(path, Attempt(2, from_step=10))
    followed.read()
    assert [at for at, _ in followed.series["loss"]] == list(range(1, 11))
    assert [answer.step for answer in followed.answers["q"]] == [0]
    write(path, *(step(n, 1.0) for n in range(11, 15)))
    followed.read()
    assert list(followed.series["loss"]) == [(n, 2.0 if n < 11 else 1.0) for n in range(1, 15)]


def test_what_is_held_is_bounded_and_a_far_behind_page_gets_all(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    followed = Followed(path)
    write(path, *(Log("saved", {"step": n}) for n in range(RECENT + 50)))
    followed.read()
    assert [line.values["step"] for line in followed.log][0] == RECENT + 50 - LOG_LINES
    assert followed.since(0) is None
    assert followed.since(followed.offset) == []
    before = followed.offset
    write(path, step(1), step(2))
    followed.read()
    assert [event.step for event in followed.since(before) or () if isinstance(event, Metrics)] == [1, 2]


def test_no_page_comes_back_over_what_was_read_in_haste(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    write(path, Attempt(1), step(1))
    followed = Followed(path)
    followed.read()
    before = followed.offset
    write(path, *(step(n) for n in range(2, 200)))
    with patch.object(follow, "NEAR", 500):
        followed.read()
    assert followed.since(before) is None
    assert [at for at, _ in followed.series["loss"]] == list(range(1, 200))
    assert followed.metrics and followed.metrics.step == 199


def test_a_file_that_was_cut_or_replaced_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    write(path, *(step(n) for n in range(1, 9)))
    followed = Followed(path)
    followed.read()
    known = followed.offset
    path.write_bytes(path.read_bytes()[:-30])  # a copy from a minute ago, cut in mid-line
    assert followed.read()
    assert [at for at, _ in followed.series["loss"]] == list(range(1, 8))
    assert followed.since(known) is None
    write(path, step(8))  # the writer ends the torn line and goes on
    followed.read()
    assert [at for at, _ in followed.series["loss"]] == list(range(1, 9))


def test_values_that_are_no_numbers_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    wrong = [
        {"event": "metrics", "step": "x", "epoch": 1, "values": {"loss": 1.0}},
        {"event": "metrics", "step": 1, "epoch": 1, "values": {"loss": "<b>"}},
        {"event": "metrics", "step": 1, "epoch": 1, "values": None},
        {"event": "attempt", "number": 1, "from_step": None},
        {"event": "answer", "step": 1, "question": ["q"], "answer": 1},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in wrong))
    followed = Followed(path)
    followed.read()
    assert not any(list(curve) for curve in followed.series.values())
    assert followed.offset == path.stat().st_size


EVENTS = st.one_of(
    st.builds(step, st.integers(1, 30), st.floats(0, 10)),
    st.builds(Attempt, st.integers(1, 5), st.integers(0, 30), time=st.just(0.0)),
    st.builds(Log, st.text(max_size=8), time=st.just(0.0)),
    st.builds(Answer, st.integers(0, 30), st.text(max_size=3), st.text(max_size=8), time=st.just(0.0)),
    st.builds(Phase, st.sampled_from(["training", "saving"]), total=st.integers(0, 9), time=st.just(0.0)),
)


def line(event: Event) -> bytes:
    said = {"event": type(event).__name__.lower(), **asdict(event)}
    return json.dumps(said, ensure_ascii=False).encode() + b"\n"


TORN = st.binary(max_size=40).map(lambda junk: junk.replace(b"\n", b"") + b"\n")


@given(
    st.lists(st.one_of(EVENTS.map(line), TORN), max_size=40),
    st.lists(st.integers(0, 4000), max_size=8),
    st.integers(1, 1000),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_read_in_pieces_is_the_same_as_read_at_once(
    tmp_path: Path, lines: list[bytes], cuts: list[int], near: int
) -> None:
    """Torn anywhere between two reads, with half lines of killed workers: nothing is lost or doubled."""
    data = b"".join(lines)
    path = tmp_path / "pieces.jsonl"
    path.write_bytes(b"")
    pieces = Followed(path)
    for end in [*sorted(min(cut, len(data)) for cut in cuts), len(data)]:
        with path.open("ab") as file:
            file.write(data[path.stat().st_size : end])
        pieces.read()
    once = Followed(path)
    with patch.object(follow, "NEAR", near):
        once.read()
    assert shown(pieces) == shown(once)
    assert once.offset == len(data)


@st.composite
def attempts(draw: st.DrawFn) -> list[Event]:
    """A job started several times, each time from a step that it had reached."""
    events: list[Event] = []
    reached = 0
    for number in range(1, draw(st.integers(1, 4)) + 1):
        start = draw(st.integers(0, reached))
        reached = start + draw(st.integers(0, 12))
        losses = [draw(st.integers(0, 99)) / 4 for _ in range(start, reached)]
        events += [Attempt(number, start), *(step(start + 1 + n, loss) for n, loss in enumerate(losses))]
    return events


@given(attempts(), st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_page_that_comes_back_has_the_same_curve(
    tmp_path: Path, events: list[Event], data: st.DataObject
) -> None:
    """What it had, cut and continued as the script does it, is what a page gets that opens now."""
    left = data.draw(st.integers(1, len(events)))
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"".join(map(line, events[:left])))
    followed = Followed(path)
    followed.read()
    had, offset = list(followed.series["loss"]), followed.offset
    with path.open("ab") as file:
        file.write(b"".join(map(line, events[left:])))
    another = Followed(path)  # another server process
    another.read()
    missed = another.since(offset)
    assert missed is not None
    message = news("en", missed)
    had = [point for point in had if point[0] <= message.get("cut", point[0])]
    had += [(at, value) for at, value in message.get("pts", [])]
    assert had == list(another.series["loss"])
