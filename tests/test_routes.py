"""What the page's scripts ask the server for: lists, actions, files; and how it refuses."""

import io
import json
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qlora_ui.config import TrainConfig
from qlora_ui.events import Attempt, Failure, Metrics, Phase
from qlora_ui.jobs import Job, JobState
from qlora_ui.ui import archive
from qlora_ui.ui.routes import BASE, TAIL, assets
from tests.fake_launcher import Home
from tests.served import Served, make_adapter
from tests.waiting import until


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    served = Served(Home(tmp_path_factory.mktemp("home"), [str(n) for n in range(20)]))
    yield served
    served.stop()


def ended(served: Served, code: int = 0, name: str = "") -> Job:
    job = served.home.scheduler.submit(TrainConfig(name=name))
    served.home.scheduler.tick()
    served.home.launcher.end(served.home.job(job), code)
    served.home.scheduler.tick()
    return served.home.job(job)


def test_the_list_has_every_job_and_is_sent_once(served: Served) -> None:
    job = served.home.run()
    served.home.write(job, Attempt(1), Phase("training", 0, 36, "steps"), Metrics(18, 1.5, {"loss": 1.0}))
    answer = served.get("/jobs?lang=en")
    row = next(row for row in answer.json()["jobs"] if row["id"] == job.id)
    assert (row["share"], row["state"], row["strength"]) == (0.5, "Training", "8 · 16 (×2)")
    assert row["line"].startswith("Step 18 of 36")
    again = served.get("/jobs?lang=en", headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    served.home.store.rename(job.id, "another")
    assert served.get("/jobs", headers={"if-none-match": answer.headers["etag"]}).status_code == 200


def test_actions_do_what_was_read_and_pressed(served: Served) -> None:
    job = served.home.run()
    too_late = served.post(f"/jobs/{job.id}/stop", {"kill": True})
    assert too_late.status_code == 409
    assert "moved on" in too_late.json()["error"]
    assert served.post(f"/jobs/{job.id}/stop", {"kill": False}).status_code == 200
    assert served.home.job(job).state is JobState.STOPPING
    assert served.post(f"/jobs/{job.id}/stop", {"kill": False}).status_code == 409  # a double press
    assert [force for _, force in served.home.launcher.stopped] == [False]
    assert served.post(f"/jobs/{job.id}/stop", {"kill": True}).status_code == 200
    assert [force for _, force in served.home.launcher.stopped] == [False, True]
    assert served.post(f"/jobs/{job.id}/delete", {}).status_code == 409
    assert served.home.store.get(job.id)


def checkpoint(served: Served, job: Job, step: int = 4) -> Path:
    """As a worker writes one; returns its folder."""
    path = served.home.store.folder(job.id) / "checkpoints" / f"step-{step}"
    path.mkdir(parents=True)
    (path / "adapter.safetensors").write_bytes(b"w" * 5000)
    manifest = {
        "step": step, "time": 1000.0, "loss": None, "dtype": "float32", "overrides": {},
        "files": {"adapter.safetensors": 5000},
    }  # fmt: skip
    (path / "checkpoint.json").write_text(json.dumps(manifest))
    return path


def test_pause_and_resume(served: Served) -> None:
    job = served.home.run()
    assert served.post(f"/jobs/{job.id}/resume", {}).status_code == 409
    assert served.post(f"/jobs/{job.id}/pause", {}).status_code == 200
    assert served.post(f"/jobs/{job.id}/pause", {}).status_code == 409  # a double press
    served.home.launcher.end(served.home.job(job), 130)
    served.home.scheduler.tick()
    paused = served.home.job(job)
    assert (paused.state, paused.held) == (JobState.QUEUED, True)
    assert served.post(f"/jobs/{job.id}/resume", {}).status_code == 200
    served.home.scheduler.tick()
    assert served.home.job(job).attempt == 2


def test_only_overrides_that_were_offered_are_taken(served: Served) -> None:
    job = served.home.run()
    values = {"used": 8 * 10**9, "free": 10**9, "phase": "training", "asked": 2 * 10**9}
    served.home.write(job, Attempt(1), Failure("out_of_memory", values))
    served.home.launcher.end(job, 12)
    served.home.scheduler.tick()
    assert served.home.job(job).state is JobState.FAILED
    for wrong in ({"lora.r": 1024}, {"batch.max_length": 16}, {"name": "x"}, "x", ["x"], {}):
        assert served.post(f"/jobs/{job.id}/resume", {"overrides": wrong}).status_code == 409
    with served.events(job.id) as stream:
        plan = stream.message()["job"]["plan"]
    shorter = next(change for change in plan if "tokens" in change["what"])
    assert shorter["overrides"] == {"batch.max_length": 512}
    assert shorter["how"] == "starts from the beginning"
    assert served.post(f"/jobs/{job.id}/resume", {"overrides": shorter["overrides"]}).status_code == 200
    assert served.home.job(job).overrides == shorter["overrides"]
    served.home.scheduler.tick()
    ended = served.post(f"/jobs/{job.id}/resume", {"overrides": shorter["overrides"]})
    assert ended.status_code == 409


def test_the_queue_is_moved_paused_and_listed_in_its_order(tmp_path: Path) -> None:
    served = Served(Home(tmp_path, [""]))
    try:
        running, *waiting = (served.home.run() for _ in range(4))
        served.home.write(running, Attempt(1))
        one, two, three = (job.id for job in waiting)
        assert served.post(f"/jobs/{three}/move", {"way": "up"}).status_code == 200
        assert served.post(f"/jobs/{one}/move", {"way": "up"}).status_code == 409
        assert served.post(f"/jobs/{one}/move", {"way": "sideways"}).status_code == 400
        assert served.post("/queue/pause", {"on": "yes"}).status_code == 400
        assert served.post("/queue/nonsense", {"on": True}).status_code == 400
        assert served.client.post(f"{BASE}/queue/pause", json={"on": True}).status_code == 400
        assert served.post("/queue/pause", {"on": True}).status_code == 200
        said = served.get("/jobs?lang=en").json()
        assert said["paused"]
        assert [row["id"] for row in said["jobs"]] == [running.id, one, three, two]
        queue = [(row["first"], row["last"], row["line"]) for row in said["jobs"][1:]]
        assert queue == [
            (True, False, "place 1 in the queue"),
            (False, False, "place 2 in the queue"),
            (False, True, "place 3 in the queue"),
        ]
    finally:
        served.stop()


def test_checkpoints_are_deleted_of_ended_jobs_only(served: Served) -> None:
    job = served.home.run()
    kept = checkpoint(served, job)
    assert served.post(f"/jobs/{job.id}/delete-checkpoints", {}).status_code == 409
    served.home.launcher.end(job, 1)
    served.home.scheduler.tick()

    def row() -> dict[str, Any]:
        return next(row for row in served.get("/jobs?lang=en").json()["jobs"] if row["id"] == job.id)

    until(lambda: row()["saved"] == "5 kB")
    assert row()["resume"] == "Resume"
    assert kept.exists()
    assert served.post(f"/jobs/{job.id}/delete-checkpoints", {}).status_code == 200
    assert not kept.exists()
    until(lambda: row()["size"] and not row()["saved"])
    assert row()["resume"] == "Start again"


def test_what_every_page_asks_for(served: Served) -> None:
    job = served.home.run()
    served.home.write(job, Attempt(1), Phase("training", 0, 36, "steps"), Metrics(18, 1.5, {"loss": 1.0}))
    said = served.get("/now?lang=en").json()
    assert said["running"].endswith(" running")
    mine = {"name": "SmolLM2-135M-Instruct · demo data", "state": "Training", "icon": "busy", "share": 0.5}
    until(lambda: served.get("/now?lang=en").json()["jobs"][job.id] == mine)
    served.home.launcher.end(job, 0)
    served.home.scheduler.tick()
    until(lambda: served.get("/now?lang=en").json()["jobs"].get(job.id, {}).get("ended"))


def test_the_list_of_a_thousand_jobs_is_quick(tmp_path: Path) -> None:
    home = Home(tmp_path, [""])
    for number in range(1000):
        job = home.store.create(TrainConfig(name=f"job {number}"))
        home.store.move(job.id, JobState.FINISHED, [JobState.QUEUED], started=1.0, ended=2.0)
    served = Served(home)
    try:
        begun = time.monotonic()
        assert len(served.get("/jobs?lang=en").json()["jobs"]) == 1000
        assert time.monotonic() - begun < 2  # 0.3 s; two cores may be shared by all that runs
        begun = time.monotonic()
        served.get("/jobs?lang=en")
        assert time.monotonic() - begun < 1
    finally:
        served.stop()


def test_rename_and_delete(served: Served) -> None:
    job = ended(served)
    assert served.post(f"/jobs/{job.id}/rename", {"name": "  <b>a</b>\n 名 "}).status_code == 200
    assert served.home.job(job).name == "<b>a</b> 名"
    long = served.post(f"/jobs/{job.id}/rename?lang=zh", {"name": "x" * 121})
    assert long.status_code == 400
    assert "120" in long.json()["error"]
    assert served.post(f"/jobs/{job.id}/delete", {}).status_code == 200
    assert served.home.store.get(job.id) is None
    assert not served.home.store.folder(job.id).exists()
    assert served.post(f"/jobs/{job.id}/delete", {}).status_code == 404


@pytest.mark.parametrize("token", ["", "two words", "hf_a b", "hf_a\nX: y", "hf_" + "a" * 300, "hf_é"])
def test_what_is_no_token_is_refused(served: Served, token: str) -> None:
    job = served.home.run()
    answer = served.post(f"/jobs/{job.id}/token", {"token": token})
    assert answer.status_code == 400
    assert "hf_" in answer.json()["error"]


def test_a_post_needs_our_origin_and_json(served: Served) -> None:
    job = served.home.run()
    path = f"{BASE}/jobs/{job.id}/stop"
    assert served.client.post(path, json={}).status_code == 400
    form = served.client.post(path, data={"kill": ""}, headers={"origin": served.origin})
    assert form.status_code == 415
    for body in (b"", b"[]", b"{", b"\xff"):
        headers = {"origin": served.origin, "content-type": "application/json"}
        assert served.client.post(path, content=body, headers=headers).status_code == 400
    assert served.post(f"/jobs/{job.id}/nonsense", {}).status_code == 400
    assert served.client.get(path).status_code == 405
    assert served.home.job(job).state is JobState.RUNNING


@pytest.mark.parametrize("bad", ["..", "%2e%2e", "..%2f..", "a%00b", ".hidden", "x" * 101, "a%20b", "nobody"])
@pytest.mark.parametrize("what", ["details", "adapter.zip"])
def test_only_the_id_of_a_job_leads_anywhere(served: Served, bad: str, what: str) -> None:
    answer = served.get(f"/jobs/{bad}/{what}")
    assert answer.status_code == 404
    assert b"Traceback" not in answer.content


def test_the_zip_holds_the_adapter_and_the_config(served: Served, tmp_path: Path) -> None:
    job = ended(served, name="海盗/../回答 <1>")
    assert served.get(f"/jobs/{job.id}/adapter.zip").status_code == 404
    folder = served.home.store.folder(job.id)
    make_adapter(folder)
    (tmp_path / "secret").write_text("secret")
    (folder / "adapter" / "link").symlink_to(tmp_path / "secret")
    answer = served.get(f"/jobs/{job.id}/adapter.zip")
    assert answer.headers["content-disposition"] == (
        f'attachment; filename="1-{job.id}.zip"; '
        f"filename*=UTF-8''%E6%B5%B7%E7%9B%97-..-%E5%9B%9E%E7%AD%94-1-{job.id}.zip"
    )
    with zipfile.ZipFile(io.BytesIO(answer.content)) as received:
        assert received.testzip() is None
        assert received.namelist() == [
            "adapter/adapter_config.json",
            "adapter/adapter_model.safetensors",
            "config.json",
        ]
        weights = (folder / "adapter" / "adapter_model.safetensors").read_bytes()
        assert received.read("adapter/adapter_model.safetensors") == weights
        assert TrainConfig.model_validate_json(received.read("config.json")).name == job.name


def test_the_zip_is_made_while_it_is_sent(tmp_path: Path) -> None:
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(8 * archive.CHUNK)
    sizes = [len(part) for part in archive.zipped([(tmp_path / "config.json", "config.json")])]
    assert max(sizes) < 2 * archive.CHUNK
    assert sum(sizes) > 8 * archive.CHUNK


def test_technical_details_end_with_the_workers_last_words(served: Served) -> None:
    job = ended(served, code=1)
    served.home.write(job, Attempt(1), Failure("disk_full", {}, "Traceback: <b>"))
    output = b"x" * TAIL + b"\nlast line\xff\n"
    (served.home.store.folder(job.id) / "worker.log").write_bytes(output)
    answer = served.get(f"/jobs/{job.id}/details")
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.text == "Traceback: <b>\n\nlast line\ufffd"


def test_a_fault_of_ours_is_a_sentence(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret of the stack")

    monkeypatch.setattr(served.home.store, "all", broken)
    answer = served.get("/jobs?lang=en")
    assert answer.status_code == 500
    assert answer.json() == {"error": "Something went wrong in the server. Its terminal says more."}


@pytest.mark.parametrize(
    "name", ["monitor.js", "charts.js", "keeping.js", "beacon.js", "jobs.js", "jobs.css", "bokeh.min.js"]
)
def test_assets_are_packed_and_kept(served: Served, name: str) -> None:
    answer = served.client.get(f"/{assets()}/{name}", headers={"accept-encoding": "gzip"})
    assert answer.status_code == 200
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["content-encoding"] == "gzip"
    assert served.client.get(f"/{assets()}/../../page.py").status_code == 404
