"""`app.py` as a person starts it: where the page is, the demo followed, a quick end, no second one."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qlora_ui.jobs import JobState, JobStore
from qlora_ui.launchers.local import ROOT
from tests.sessions import end_sessions
from tests.waiting import until

GO_ON = "Running jobs go on; start app.py again to see them.\n"


@pytest.fixture(scope="module")
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    end_sessions(tmp_path)


def start(home: Path, port: int, *arguments: str, **env: str) -> subprocess.Popen[str]:
    own = {"QLORA_UI_HOME": str(home), "QLORA_UI_PORT": str(port), "LC_ALL": "en_US.UTF-8"}
    inherited = {name: value for name, value in os.environ.items() if "DISPLAY" not in name}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.launchers.start_app", *arguments],
        cwd=ROOT, env={**inherited, **own, **env}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


@contextmanager
def page(home: Path, port: int, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The page, open: its process and the line that says where it is."""
    process = start(home, port, *arguments)
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def said(process: subprocess.Popen[str]) -> str:
    with process:
        assert process.stdout is not None
        return process.stdout.read()


def events(home: Path) -> bytes:
    return b"".join(file.read_bytes() for file in home.glob("jobs/*/events.jsonl"))


def test_the_demo_lives_on_and_is_shown_again(home: Path, port: int) -> None:
    with page(home, port, "--demo") as (process, line):
        assert line.startswith(f"The page is at http://127.0.0.1:{port}/?job=")
        address = line.split()[-1]
        with urllib.request.urlopen(address, timeout=30) as answer:
            assert answer.status == 200
        until(lambda: b'"metrics"' in events(home))
        second = start(home, port)
        assert said(second).startswith(f"Another QLoRA UI already runs on the folder {home}.")
        assert second.returncode == 1
        before = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        rest = list(iter(process.stdout.readline, "The page is closed. " + GO_ON))
        assert time.monotonic() - before < 5
        assert process.wait(60) == 0
        assert "Now: training\n" in rest
    with page(home, port, "--demo") as (process, line):
        assert line.split()[-1] == address, "the demo on its way, not a second one"
        (folder,) = home.glob("jobs/*")
        (folder / "go").touch()
        assert process.stdout is not None
        lines = list(iter(process.stdout.readline, "Finished\n"))
        assert "Step 1 of 5: loss 1.00\n" in lines and "Step 5 of 5: loss 0.2\n" in lines
    store = JobStore(home)
    assert [job.state for job in store.all()] == [JobState.FINISHED]
    store.close()


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"QLORA_UI_HOME": "/proc/no/such"}, "cannot be written to"),
        ({"LC_ALL": "zh_CN.UTF-8", "QLORA_UI_HOST": "0.0.0.0"}, "请设置 QLORA_UI_PASSWORD"),
        ({"QLORA_UI_HOST": "192.0.2.1", "QLORA_UI_PASSWORD": "long enough"}, "is not an address of this"),
    ],
)
def test_a_refusal_is_one_sentence(home: Path, port: int, env: dict[str, str], words: str) -> None:
    process = start(home, port, **env)
    out = said(process)
    assert words in out and out.count("\n") == 1 and "Traceback" not in out
    assert process.returncode == 1


def test_a_taken_port_is_said(home: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        process = start(home, other.getsockname()[1], "--demo")
        out = said(process)
    assert "QLORA_UI_PORT" in out and out.count("\n") == 1
    assert process.returncode == 1
    assert not [*home.glob("jobs/*")], "no job of a page that never opened"


def test_a_broken_database_is_said(home: Path, port: int) -> None:
    (home / "jobs.db").write_bytes(b"no database at all" * 100)
    process = start(home, port)
    assert "Move that file away" in said(process)
    assert process.returncode == 1


def test_nothing_installed_is_said() -> None:
    done = subprocess.run(
        [sys.executable, "-S", ROOT / "app.py"], check=False, capture_output=True, text=True,
        env={"LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    assert done.returncode == 1
    assert "pip install -r requirements.txt" in done.stderr and "Traceback" not in done.stderr
