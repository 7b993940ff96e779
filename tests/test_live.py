"""A job's events as they reach a browser: whole, small, resumed after whatever broke."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from qlora_ui.config import TrainConfig, Trainer
from qlora_ui.events import (
    Answer,
    Artifact,
    Attempt,
    Environment,
    EventReader,
    Failure,
    Log,
    Metrics,
    Phase,
)
from qlora_ui.jobs import ACTIVE, Job, JobState
from qlora_ui.owner import EXIT_OUT_OF_MEMORY
from tests.fake_launcher import Home
from tests.served import Served, make_adapter
from tests.test_routes import checkpoint

VALUES = {
    "loss": 1.23456789,
    "learning_rate": 0.000123456789,
    "grad_norm": 0.3456789,
    "tokens_per_second": 498.123456,
    "memory": 2_612_345_678.0,
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    served = Served(Home(tmp_path_factory.mktemp("home"), ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]))
    yield served
    served.stop()


def step(number: int) -> Metrics:
    return Metrics(number, number / 12, {**VALUES, "loss": 1 / number})


def running(served: Served) -> Job:
    job = served.home.run()
    served.home.write(job, Attempt(1), Phase("training", 0, 36, "steps"), step(1))
    return job


def test_a_page_that_opens_gets_everything_then_only_what_is_new(served: Served) -> None:
    job = running(served)
    served.home.write(job, Log("no such key", {"a": "<b>"}), Answer(0, "Who?", "<script>"))
    with served.events(job.id) as stream:
        assert stream.headers["x-accel-buffering"] == "no"
        first = stream.message()
        assert first["all"]["loss"] == [[1, 1.0]]
        assert first["log"][-1][1:] == ["info", "no such key a=<b>"]
        assert first["answers"] == [{"question": "Who?", "answers": [["Before", "<script>"]]}]
        assert first["job"]["state"] == "running"
        assert first["bar"][:3] == [
            1 / 36,
            "Step 1 of 36 · epoch 0.1 of 3 · time left: known after a few steps",
            "Training",
        ]
        assert first["say"]["loss"] == "Starts at 1.00."
        served.home.write(job, step(2), Metrics(2, 0.2, {"eval_loss": 2.0}))
        news = stream.until("pts")
        assert news["pts"][0] == [2, 0.5, None, 0.00012346, 0.34568, 498.12, 2612300000.0]
        assert news["pts"][1] == [2, None, 2.0]
        assert not {"all", "job"} & set(news)


def test_an_update_is_small_on_the_wire(served: Served) -> None:
    """With its sentences and a log line, in the language that needs more bytes; 400 with all headers."""
    job = running(served)
    sizes = []
    with served.events(job.id, language="zh") as stream:
        stream.message()
        for number in range(2, 5):
            served.home.write(job, step(number), Log("saved", {"step": number}))
            stream.until("pts")
            sizes.append(len(stream.raw) + len(b"1f4\r\n\r\n"))
    assert sum(sizes) / len(sizes) <= 400


def test_nothing_is_missed_or_doubled_by_a_page_that_comes_back(served: Served) -> None:
    job = running(served)
    with served.events(job.id) as stream:
        stream.message()
        known = stream.offset
    served.home.write(job, step(2), step(3))
    with served.events(job.id, known) as stream:
        back = stream.message()
        assert [point[0] for point in back["pts"]] == [2, 3]
        assert "all" not in back
        known = stream.offset
    served.restart()
    served.home.write(job, step(4))
    with served.events(job.id, known) as stream:
        back = stream.message()
        assert [point[0] for point in back["pts"]] == [4]
        assert back["job"]["state"] == "running"
        known = stream.offset
    with served.events(job.id, known) as stream:
        assert not {"all", "pts", "log"} & set(stream.message())
    with served.events(job.id, "99999999") as stream:  # knows a file that is no more
        assert [point[0] for point in stream.message()["all"]["loss"]] == [1, 2, 3, 4]


def test_a_later_attempt_cuts_the_curve_of_an_open_page(served: Served) -> None:
    job = running(served)
    served.home.write(job, *map(step, range(2, 9)))
    with served.events(job.id) as stream:
        stream.message()
        served.home.write(job, Attempt(2, from_step=4), step(5))
        news = stream.until("cut")
        assert news["cut"] == 4
        assert [point[0] for point in news["pts"]] == [5]


def test_what_the_store_says_is_pushed(served: Served) -> None:
    job = running(served)
    with served.events(job.id) as stream:
        assert stream.message()["job"]["stop"] == "Save and stop"
        served.home.scheduler.stop(job.id)
        message = stream.until("job")
        assert message["job"]["stop"] == "Stop now, losing what was not saved"
        served.home.launcher.end(job, 130)
        served.home.scheduler.tick()
        message = stream.until("job")
        assert message["job"]["ended"]
        assert message["bar"][3] == "stopped"
        served.home.store.rename(job.id, "<i>新名字</i>")
        assert stream.until("job")["job"]["name"] == "<i>新名字</i>"
        served.home.store.delete(job.id)
        assert stream.until("gone")
        with pytest.raises(StopIteration):
            stream.message()


def test_details_come_with_the_environment(served: Served) -> None:
    job = served.home.run()
    with served.events(job.id) as stream:
        assert len(stream.message()["job"]["details"]) == 3
        served.home.write(job, Environment({}, "CPU", "float32", "NF4", 10, 1000))
        assert ["Trains", "10 (1.0 %)"] in stream.until("job")["job"]["details"]


def test_a_queued_job_says_what_it_waits_for(tmp_path: Path) -> None:
    served = Served(Home(tmp_path, [""]))
    try:
        first, second = served.home.run(), served.home.run()
        with served.events(second.id) as stream:
            assert "when “SmolLM2-135M-Instruct · demo data” is done" in stream.message()["job"]["queue"]
            served.home.launcher.end(first, 0)
            served.home.scheduler.tick()
            assert stream.until("job")["job"]["state"] in ("starting", "running")
        assert [job.id for job in served.home.store.all(ACTIVE)] == [second.id]
        waits = served.home.run(token="hf_x")
        served.restart()
        with served.events(waits.id) as stream:
            message = stream.message()
            assert message["job"]["token"]
            assert message["bar"][2:] == ["Needs a token", "key"]
            served.post(f"/jobs/{waits.id}/token", {"token": "hf_secret"})
            assert not stream.until("job")["job"]["token"]
        assert b"hf_secret" not in b"".join(
            path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()
        )
    finally:
        served.stop()


def test_what_is_kept_is_pushed_as_it_changes(served: Served) -> None:
    job = running(served)
    with served.events(job.id) as stream:
        assert stream.message()["job"]["kept"] == [{"said": "Nothing is saved yet"}]
        checkpoint(served, job)
        (kept,) = stream.until("job")["job"]["kept"]
        assert kept == {"said": "Last saved: step 4, {ago}", "at": 1000.0}
        served.home.write(job, *(Metrics(n, 0, {"eval_loss": abs(n - 3)}) for n in (2, 3, 4)))
        served.home.write(job, Artifact("adapter", "adapter", 7, 3))
        last = stream.until("job")["job"]["kept"][-1]
        assert last == {"said": "Adapter of step 3, the best of 3 measurements"}


def test_a_retry_says_what_it_does_otherwise_and_why(served: Served) -> None:
    job = served.home.scheduler.submit(TrainConfig(trainer=Trainer(per_device_train_batch_size=4)))
    served.home.scheduler.tick()
    fault = Failure("out_of_memory", {"phase": "training", "asked": 2 * 10**9})
    served.home.write(job, Attempt(1), Phase("training", 0, 36, "steps"), step(1), fault)
    served.home.launcher.end(served.home.job(job), EXIT_OUT_OF_MEMORY)
    with served.events(job.id) as stream:
        stream.message()
        served.home.scheduler.tick()
        served.home.scheduler.tick()
        served.home.write(job, Attempt(2, 1))
        said = stream.until("log")["log"]
        assert "Start 2: goes on after step 1" in said[-1][2]
    with served.events(job.id) as stream:
        message = stream.message()
        expected = "Ran out of memory; goes on with fewer packs at once: 2 instead of 4"
        assert message["job"]["changed"] == expected
        assert any(level == "warning" and "memory" in line for _, level, line in message["log"])


def test_silence_is_said_and_nothing_is_done(served: Served) -> None:
    job = running(served)
    events = served.home.store.folder(job.id) / "events.jsonl"
    long_ago = time.time() - 12 * 60 - 1
    os.utime(events, (long_ago, long_ago))
    with served.events(job.id) as stream:
        assert "No sign of life for 12 minutes" in stream.message()["job"]["silent"]
        served.home.write(job, step(2))
        assert not stream.until("job")["job"]["silent"]
    assert served.home.job(job).state is JobState.RUNNING
    served.home.scheduler.stop(job.id)  # it hangs while it saves
    os.utime(events, (long_ago, long_ago))
    with served.events(job.id) as stream:
        assert "No sign of life for 12 minutes" in stream.message()["job"]["silent"]


def test_a_queued_job_says_its_place_and_when_it_starts(tmp_path: Path) -> None:
    served = Served(Home(tmp_path, [""]))
    try:
        store = served.home.store
        done = store.create(TrainConfig())
        store.move(done.id, JobState.FINISHED, [JobState.QUEUED], started=1000.0, ended=1600.0, attempt=1)
        job = running(served)
        now = time.time()
        served.home.write(job, Metrics(2, 0.2, {"loss": 1.0}, now), Metrics(7, 0.2, {"loss": 1.0}, now + 100))
        served.home.run()  # a like job took 600 s
        last = served.home.run()
        with served.events(last.id) as stream:
            message = stream.message()["job"]
            assert message["queue"].startswith("Place 2 in the queue")
            began = next(e.time for e in EventReader(store.folder(job.id) / "events.jsonl").read()
                         if isinstance(e, Metrics))  # fmt: skip
            left = (now + 100 - began) / 6 * 29
            assert abs(message["starts"] - (time.time() + left + 600)) < 35
            served.home.scheduler.pause(last.id)
            held = stream.until("job")["job"]
            assert (held["queue"], held["starts"], held["resume"]) == ("", None, "Resume")
    finally:
        served.stop()


def test_the_chain_of_jobs_is_shown_both_ways(served: Served) -> None:
    parent = served.home.run()
    make_adapter(served.home.store.folder(parent.id))
    served.home.launcher.end(parent, 0)
    served.home.scheduler.tick()
    child = served.home.scheduler.submit(TrainConfig(name="<b>more</b>", parent=parent.id))
    with served.events(child.id) as stream:
        (link,) = stream.message()["job"]["chain"]
        assert (link["said"], link["id"]) == ("Goes on from", parent.id)
    with served.events(parent.id) as stream:
        message = stream.message()["job"]
        assert message["chain"] == [{"said": "Went on in", "name": "<b>more</b>", "id": child.id}]
        assert message["further"] and not message["resume"]


def test_the_server_ends_at_once_whoever_looks(tmp_path: Path) -> None:
    served = Served(Home(tmp_path, [""]))
    job = served.home.run()
    with served.events(job.id) as stream:
        stream.message()
        begun = time.monotonic()
        served.server.close()
        assert time.monotonic() - begun < 3
    served.stop()
    assert served.home.job(job).state is JobState.RUNNING
