"""A job that failed for want of a token is given one on its page and goes on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from qlora_ui import owner
from qlora_ui.events import Attempt, Failure
from qlora_ui.jobs import Job, JobState
from qlora_ui.ui.view import WANT_TOKEN
from tests.fake_launcher import Home
from tests.served import Served


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    served = Served(Home(tmp_path_factory.mktemp("token"), [""]))
    yield served
    served.stop()


def failed(served: Served, key: str) -> Job:
    job = served.home.run()
    served.home.write(job, Attempt(1), Failure(key, {"id": "org/gated", "url": "", "endpoint": ""}))
    return served.home.end(job, owner.EXIT_FAILED)


@pytest.mark.parametrize("key", WANT_TOKEN)
def test_the_token_is_given_to_the_next_attempt(served: Served, key: str) -> None:
    job = failed(served, key)
    assert served.post(f"/jobs/{job.id}/token", {"token": "hf_abc"}).status_code == 200
    served.home.scheduler.tick()
    now = served.home.job(job)
    assert (now.state, now.attempt) == (JobState.RUNNING, 2)
    assert served.home.launcher.env[f"{job.id}/2"]["HF_TOKEN"] == "hf_abc"
    served.home.end(now, owner.EXIT_FINISHED)


def test_other_failures_ask_for_none(served: Served) -> None:
    job = failed(served, "no_network")
    assert served.post(f"/jobs/{job.id}/token", {"token": "hf_abc"}).status_code == 409
    assert served.home.job(job).state is JobState.FAILED


def test_the_page_of_such_a_job_has_the_box(served: Served, tmp_path: Path) -> None:
    job = failed(served, "model_gated")
    with served.client.stream("GET", f"/gradio_api/qlora/jobs/{job.id}/events") as stream:
        message = next(line for line in stream.iter_lines() if line.startswith("data:"))
    assert '"token":true' in message
