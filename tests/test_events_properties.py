"""What holds of events.jsonl however its writer dies, whoever reads it meanwhile, whatever else is in it."""

import errno
import json
import os
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from qlora_ui.events import Answer, Attempt, Event, EventReader, EventWriter, Log, Metrics, Phase, parse
from qlora_ui.ui.follow import Followed

times = st.floats(0, 2e9)
numbers = st.floats(allow_nan=False, allow_infinity=False)
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(Attempt, st.integers(1, 9), st.integers(0, 50), times),
    st.builds(Phase, st.sampled_from(["training", "saving"]), st.integers(0, 9), st.just(9), time=times),
    st.builds(Metrics, st.integers(0, 99), numbers, st.dictionaries(st.just("loss"), numbers), times),
    st.builds(Log, st.text(max_size=9), st.dictionaries(st.text(), st.text(), max_size=2), time=times),
    st.builds(Answer, st.integers(0, 9), st.text(), st.text(), times),
)


def line_of(event: Event) -> bytes:
    """As the writer writes it."""
    values = {"event": type(event).__name__.lower(), **asdict(event)}
    return json.dumps(values, ensure_ascii=False).encode() + b"\n"


def encodable(event: Event) -> bool:
    try:
        line_of(event)
    except UnicodeEncodeError:
        return False
    return True


EVENTS = EVENTS.filter(encodable)
POINT, OTHER = (Metrics(1, 0.5, {"loss": loss}, 7.5) for loss in (1.5, 2.5))


class Channel(RuleBasedStateMachine):
    """A file, who writes it and who reads it. `told`: what was written whole; `read`: what came of it."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "events.jsonl"
        self.reader = EventReader(self.path)
        assert not list(self.reader.read()), "nothing is there yet"
        self.writer = EventWriter(self.path)
        self.told: list[Event] = []
        self.read: list[Event] = []

    def teardown(self) -> None:
        self.reads()
        assert self.read == self.told
        self.writer.close()
        shutil.rmtree(self.folder)

    def put(self, data: bytes) -> None:
        """Bytes at the end of the file, past the writer."""
        with self.path.open("ab") as file:
            file.write(data)

    @rule(event=EVENTS)
    def tells(self, event: Event) -> None:
        self.writer.append(event)
        self.told.append(event)

    @rule(event=EVENTS, share=st.floats(0, 1))
    def is_killed_in_mid_line(self, event: Event, share: float) -> None:
        line = line_of(event)
        self.put(line[: int(share * (len(line) - 2))])  # without its bracket: with it, it would be told
        self.writer.close()
        self.writer = EventWriter(self.path)

    @rule(event=EVENTS, share=st.floats(0, 1))
    def meets_a_full_disk(self, event: Event, share: float) -> None:
        write = os.write

        def takes_part(fd: int, data: bytes) -> int:
            part = data[: int(share * (len(data) - 2))]
            if not part:
                raise OSError(errno.ENOSPC, "full")
            return write(fd, part)

        with mock.patch("os.write", takes_part), pytest.raises(OSError):
            self.writer.append(event)

    @rule(data=st.binary(max_size=40))
    def finds_what_it_does_not_know(self, data: bytes) -> None:
        """Lines of a newer version, or of nobody."""
        self.writer.close()
        self.put(b"\n" + data + b"\n")
        self.writer = EventWriter(self.path)

    @rule(event=EVENTS, share=st.floats(0, 1))
    def is_read_in_mid_line(self, event: Event, share: float) -> None:
        self.writer.append(Log("before"))  # whatever was torn has its end
        self.told.append(Log("before", time=self.last_time()))
        line = line_of(event)
        cut = int(share * (len(line) - 1))
        self.put(line[:cut])
        self.reads()
        self.put(line[cut:])
        self.told.append(event)

    def last_time(self) -> float:
        event = parse(self.path.read_bytes().splitlines()[-1])
        assert isinstance(event, Log)
        return event.time

    @rule()
    def reads(self) -> None:
        before = self.reader.offset
        self.read += self.reader.read()
        assert before <= self.reader.offset <= self.path.stat().st_size

    @rule()
    def is_read_by_another_process(self) -> None:
        self.reader = EventReader(self.path, self.reader.offset)

    @invariant()
    def in_order_and_once(self) -> None:
        if hasattr(self, "told"):
            assert self.read == self.told[: len(self.read)]


Channel.TestCase.settings = settings(max_examples=150, stateful_step_count=20, deadline=None)
TestChannel = Channel.TestCase


@given(data=st.binary(max_size=300))
def test_no_line_whatever_raises(data: bytes) -> None:
    parse(data)


@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    ),
    name=st.sampled_from(["attempt", "metrics", "failure", "phase"]),
)
def test_no_json_raises_either(value: object, name: str) -> None:
    for what in (value, {"event": value}, {"event": name, "step": value}, {"event": name, "number": value}):
        parse(json.dumps(what).encode())


def state(followed: Followed) -> object:
    curves = {name: list(curve) for name, curve in followed.series.items()}
    return curves, list(followed.log), followed.phase, followed.answers, followed.offset


@settings(deadline=None)
@given(
    before=st.lists(EVENTS, min_size=1, max_size=6),
    after=st.lists(EVENTS, max_size=6),
    cut=st.integers(0, 400),
)
@example(before=[POINT, POINT], after=[OTHER], cut=len(line_of(POINT)))  # ends where the old line did
def test_an_open_page_shows_what_a_new_one_does_when_a_power_cut_took_the_end_of_the_file(
    before: list[Event], after: list[Event], cut: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "events.jsonl")
        path.write_bytes(b"".join(map(line_of, before)))
        followed = Followed(path)
        followed.read()
        os.truncate(path, max(0, path.stat().st_size - cut))
        writer = EventWriter(path)
        for event in after:
            writer.append(event)
        writer.close()
        followed.read()
        fresh = Followed(path)
        fresh.read()
        assert state(followed) == state(fresh)
