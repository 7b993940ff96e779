"""Scheduler, store and real processes together: what a person sees after whatever happens to them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from qlora_ui import owner
from qlora_ui.attempts import MICRO_BATCH
from qlora_ui.config import TrainConfig, Trainer
from qlora_ui.jobs import Job, JobState, JobStore
from qlora_ui.launchers.local import ROOT, LocalLauncher
from qlora_ui.scheduler import Scheduler
from tests.sessions import end_sessions
from tests.waiting import until

MODULE = "tests.fake_training"
EIGHT = Trainer(per_device_train_batch_size=8)


class Server:
    """What `app.py` runs behind the page."""

    def __init__(self, home: Path) -> None:
        self.store = JobStore(home)
        self.scheduler = Scheduler(self.store, LocalLauncher(MODULE), lambda: [""])
        self.scheduler.start()

    def close(self) -> None:
        self.scheduler.close()
        self.store.close()

    def submit(self, name: str) -> Job:
        return self.scheduler.submit(TrainConfig(name=name, trainer=EIGHT))

    def until(self, job: Job, *states: JobState) -> Job:
        until(lambda: self.job(job).state in states, f"not {states}")
        return self.job(job)

    def job(self, job: Job) -> Job:
        found = self.store.get(job.id)
        assert found is not None
        return found

    def worker(self, job: Job) -> int:
        """Pid of the job's worker, once it trains."""
        events = self.store.folder(job.id) / "events.jsonl"
        until(lambda: events.exists() and b'"training"' in events.read_bytes())
        claimed = owner.read(self.store.folder(job.id))
        assert claimed is not None
        return claimed.pid


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.close()
    end_sessions(tmp_path)


def test_jobs_run_one_after_another_to_their_ends(server: Server) -> None:
    finishes, fails, crashes, next_one = (
        server.submit(name) for name in ("finish", "fail", "crash", "finish")
    )
    assert server.until(next_one, JobState.FINISHED).attempt == 1
    assert server.job(finishes).state is JobState.FINISHED
    assert server.job(fails).error == {"key": "disk_full", "values": {"folder": "/somewhere"}}
    assert (server.job(crashes).error or {})["key"] == "worker_failed"


def test_a_worker_killed_from_outside_is_noticed_in_time(server: Server) -> None:
    job = server.submit("wait")
    pid = server.worker(job)
    server.until(job, JobState.RUNNING)
    os.kill(pid, signal.SIGKILL)
    start = time.monotonic()
    assert server.until(job, JobState.FAILED).error == {"key": "worker_killed", "values": {}}
    assert time.monotonic() - start < 5


def test_worker_and_parent_killed(server: Server) -> None:
    job = server.submit("wait")
    pid = server.worker(job)
    server.until(job, JobState.RUNNING)
    for process in (os.getsid(pid), pid):
        os.kill(process, signal.SIGKILL)
    assert server.until(job, JobState.STOPPED).reason == "interrupted"
    (server.store.folder(job.id) / "go").touch()
    assert server.scheduler.resume(job.id)
    assert server.until(job, JobState.FINISHED).attempt == 2


def test_the_machine_restarts_and_its_pids_are_others_now(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    job = store.create(TrainConfig(name="finish"))
    folder = store.folder(job.id)
    assert owner.claim(folder, 1)
    (folder / "owner").write_text((folder / "owner").read_text().replace(owner.boot_id(), "another"))
    (folder / "session.1").write_text(f"{os.getpid()}\n")
    store.move(job.id, JobState.RUNNING, [JobState.QUEUED], attempt=1, handle=f"1:{folder}")
    store.close()
    server = Server(tmp_path)
    try:
        assert server.until(job, JobState.STOPPED).reason == "interrupted"
        assert server.scheduler.resume(job.id)
        assert server.until(job, JobState.FINISHED).attempt == 2
    finally:
        server.close()
        end_sessions(tmp_path)


def test_parent_killed_and_the_worker_ends_unseen(server: Server) -> None:
    finishes, stops = server.submit("wait"), server.submit("wait")
    for job in (finishes, stops):
        pid = server.worker(job)
        server.until(job, JobState.RUNNING)
        os.kill(os.getsid(pid), signal.SIGKILL)
        if job is finishes:
            (server.store.folder(job.id) / "go").touch()
        else:
            os.kill(pid, signal.SIGTERM)
    assert server.until(finishes, JobState.FINISHED).attempt == 1
    assert server.until(stops, JobState.STOPPED).reason == "interrupted"


def test_out_of_memory_is_tried_again_with_half_the_micro_batch(server: Server) -> None:
    job = server.submit("hungry")
    finished = server.until(job, JobState.FINISHED)
    assert (finished.attempt, finished.overrides) == (3, {MICRO_BATCH: 2})
    assert (server.store.folder(job.id) / "begun").read_text().split() == ["1", "2", "3"]


def test_pause_and_resume(server: Server) -> None:
    job, other = server.submit("wait"), server.submit("finish")
    server.worker(job)
    server.until(job, JobState.RUNNING)
    assert server.scheduler.pause(job.id)
    server.until(other, JobState.FINISHED)
    assert server.until(job, JobState.QUEUED).held
    (server.store.folder(job.id) / "go").touch()
    assert server.scheduler.resume(job.id)
    assert server.until(job, JobState.FINISHED).attempt == 2


def test_stop_keeps_the_adapter_and_a_second_stop_kills(server: Server) -> None:
    polite, deaf = server.submit("wait"), server.submit("deaf")
    server.worker(polite)
    server.scheduler.stop(polite.id)
    assert server.until(polite, JobState.STOPPED).reason == "user"
    assert (server.store.folder(polite.id) / "adapter" / "adapter_model.safetensors").exists()
    pid = server.worker(deaf)
    server.scheduler.stop(deaf.id)
    server.until(deaf, JobState.STOPPING)
    server.scheduler.stop(deaf.id)
    assert server.until(deaf, JobState.STOPPED).reason == "user"
    assert owner.start_ticks(pid) is None


def test_a_job_started_without_the_page_appears_on_it(server: Server, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(TrainConfig(name="wait").model_dump_json())
    command = [sys.executable, "-m", "tests.launchers.start_train", "train", config, "--home", tmp_path]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as trains:
        until(lambda: [job for job in server.store.all() if job.state is JobState.RUNNING])
        (job,) = server.store.all()
        queued = server.submit("finish")
        (server.store.folder(job.id) / "go").touch()
        assert trains.wait() == 0
    assert server.until(job, JobState.FINISHED).attempt == 1
    assert (server.store.folder(job.id) / "begun").read_text() == "1\n"
    server.until(queued, JobState.FINISHED)


def test_the_page_and_train_agree_on_the_next_attempt(server: Server, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(TrainConfig(name="hungry", trainer=EIGHT).model_dump_json())
    command = [sys.executable, "-m", "tests.launchers.start_train", "train", config, "--home", tmp_path]
    assert subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False).returncode == 0
    until(server.store.all)
    (job,) = server.store.all()
    finished = server.until(job, JobState.FINISHED)
    assert (finished.attempt, finished.overrides) == (3, {MICRO_BATCH: 2})
    assert (server.store.folder(job.id) / "begun").read_text().split() == ["1", "2", "3"]


SERVER = """
import sys, time
from pathlib import Path
from tests.launchers.test_restart import Server
server = Server(Path(sys.argv[1]))
server.submit("wait")
while True:
    time.sleep(60)
"""


def test_the_web_process_is_killed_and_the_next_one_shows_the_job_again(tmp_path: Path) -> None:
    first = subprocess.Popen([sys.executable, "-c", SERVER, tmp_path], cwd=ROOT)
    try:
        until(lambda: [*tmp_path.glob("jobs/*/events.jsonl")])
    finally:
        first.kill()
        first.wait()
    server = Server(tmp_path)
    try:
        (job,) = server.store.all()
        pid = server.worker(job)
        running = server.until(job, JobState.RUNNING)
        (server.store.folder(job.id) / "go").touch()
        finished = server.until(job, JobState.FINISHED)
        assert (running.attempt, finished.attempt) == (1, 1)
        assert (server.store.folder(job.id) / "begun").read_text() == "1\n"
        assert owner.start_ticks(pid) is None
    finally:
        server.close()
        end_sessions(tmp_path)
