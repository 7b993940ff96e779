"""Failpoints: without their variable nothing, with it what it says at the passing that it says, once."""

import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from qlora_ui import failpoints
from qlora_ui.launchers.local import ROOT

PASSES = """
from qlora_ui.failpoints import failpoint
for number in range(5):
    failpoint("other")
    failpoint("save")
    print(number, flush=True)
"""


def passes(setting: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", PASSES], cwd=ROOT, env=os.environ | {failpoints.VARIABLE: setting},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("setting", "lines", "code"),
    [
        ("", 5, 0),
        ("rename", 5, 0),
        ("no setting", 5, 0),
        ("save", 0, -signal.SIGKILL),
        ("save:3", 2, -signal.SIGKILL),
        ("save:2:kill", 1, -signal.SIGKILL),
        ("save:2:full", 1, 1),
    ],
)
def test_it_acts_at_the_passing_that_is_named(setting: str, lines: int, code: int) -> None:
    out, err = (process := passes(setting)).communicate(timeout=30)
    assert (len(out.splitlines()), process.returncode) == (lines, code)
    assert (f"failpoint {setting}, pid {process.pid}\n" in err) == bool(code)


def test_a_stopped_process_goes_on_when_it_is_told_to() -> None:
    with passes("save:5:stop") as process:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status) and os.WSTOPSIG(status) == signal.SIGSTOP
        process.send_signal(signal.SIGCONT)
        out, _ = process.communicate(timeout=30)
        assert out.splitlines() == ["0", "1", "2", "3", "4"] and process.returncode == 0


def test_a_full_disk_is_met_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(failpoints.VARIABLE, "append:1:full")
    monkeypatch.setattr(failpoints, "_left", {})
    with pytest.raises(OSError) as caught:
        failpoints.failpoint("append")
    assert caught.value.errno == errno.ENOSPC
    failpoints.failpoint("append")


def test_without_its_variable_it_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(failpoints.VARIABLE, raising=False)
    began = time.perf_counter()
    for _ in range(1000):
        failpoints.failpoint("append")
    assert time.perf_counter() - began < 0.1
