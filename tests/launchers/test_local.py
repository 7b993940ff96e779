"""The local launcher on real processes: what it says of a worker is what became of it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qlora_ui import owner
from qlora_ui.config import TrainConfig
from qlora_ui.folders import write_folder
from qlora_ui.launchers.base import Life, Poll
from qlora_ui.launchers.local import ROOT, LocalLauncher
from qlora_ui.launchers.parent import members
from tests.sessions import end_sessions
from tests.waiting import until

MODULE = "tests.fake_training"
Make = Callable[[str], Path]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes a job's folder; afterwards no process of its sessions is left."""
    folders: list[Path] = []

    def one(name: str) -> Path:
        folders.append(tmp_path / f"job {len(folders)}")
        write_folder(folders[-1], TrainConfig(name=name))
        return folders[-1]

    yield one
    end_sessions(tmp_path)


def session(folder: Path, attempt: int = 1) -> int:
    return int((folder / f"session.{attempt}").read_text())


def begun(folder: Path) -> int:
    return len((folder / "begun").read_text().splitlines()) if (folder / "begun").exists() else 0


def worker(folder: Path) -> int:
    """Pid of the worker, once it is at work."""
    until(lambda: (folder / "events.jsonl").exists() and b'"phase"' in (folder / "events.jsonl").read_bytes())
    claimed = owner.read(folder)
    assert claimed is not None
    return claimed.pid


def ended(launcher: LocalLauncher, handle: str) -> int | None:
    until(lambda: launcher.poll([handle])[handle].life is Life.ENDED)
    return launcher.poll([handle])[handle].code


@pytest.mark.parametrize(("name", "code"), [("finish", 0), ("fail", 1), ("crash", 3), ("unborn", 5)])
def test_exit_codes_and_no_zombie(make: Make, name: str, code: int) -> None:
    folder = make(name)
    launcher = LocalLauncher(MODULE)
    handle = launcher.submit(folder, 1, {})
    assert ended(launcher, handle) == code
    parent = session(folder)
    until(lambda: launcher.poll([handle]) and not Path(f"/proc/{parent}").exists(), "a zombie")


def test_one_poll_for_all(make: Make) -> None:
    launcher = LocalLauncher(MODULE)
    running, done = (launcher.submit(make(name), 1, {}) for name in ("wait", "finish"))
    until(lambda: launcher.poll([running, done]) == {running: Poll(Life.RUNNING), done: Poll(Life.ENDED, 0)})


def test_stop_saves_and_ends(make: Make) -> None:
    folder = make("wait")
    launcher = LocalLauncher(MODULE)
    handle = launcher.submit(folder, 1, {})
    worker(folder)
    launcher.stop(handle)
    assert ended(launcher, handle) == owner.EXIT_STOPPED
    assert (folder / "adapter" / "adapter_model.safetensors").exists()


def test_a_stop_in_the_first_instant_is_not_lost(make: Make) -> None:
    folder = make("wait")
    launcher = LocalLauncher(MODULE)
    handle = launcher.submit(folder, 1, {})
    launcher.stop(handle)  # the parent may not even run yet
    assert ended(launcher, handle) in (owner.EXIT_STOPPED, -signal.SIGTERM, None)
    assert not members(session(folder))


def test_force_kills_the_whole_session(make: Make) -> None:
    folder = make("deaf")
    launcher = LocalLauncher(MODULE)
    handle = launcher.submit(folder, 1, {})
    worker(folder)
    child = int((folder / "child").read_text())
    launcher.stop(handle)
    assert launcher.poll([handle])[handle].life is Life.RUNNING
    launcher.stop(handle, force=True)
    ended(launcher, handle)
    until(lambda: owner.start_ticks(child) is None)
    assert not members(session(folder))


def test_killed_from_outside_is_known_with_the_signal(make: Make) -> None:
    folder = make("deaf")
    launcher = LocalLauncher(MODULE)
    handle = launcher.submit(folder, 1, {})
    os.kill(worker(folder), signal.SIGKILL)
    assert ended(launcher, handle) == -signal.SIGKILL
    until(lambda: not members(session(folder)), "what the worker started outlives it")


def test_nothing_a_worker_started_is_left(make: Make) -> None:
    folder = make("orphan")
    launcher = LocalLauncher(MODULE)
    handle = launcher.submit(folder, 1, {})
    assert ended(launcher, handle) == 0
    until(lambda: owner.start_ticks(int((folder / "child").read_text())) is None)


def test_parent_killed_the_worker_goes_on_and_can_be_stopped(make: Make) -> None:
    folder = make("wait")
    launcher = LocalLauncher(MODULE)
    handle = launcher.submit(folder, 1, {})
    pid = worker(folder)
    os.kill(session(folder), signal.SIGKILL)
    until(lambda: session(folder) not in members(session(folder)))
    assert launcher.poll([handle])[handle] == Poll(Life.RUNNING)
    launcher.stop(handle)
    assert ended(launcher, handle) is None, "nobody saw it end"
    assert owner.start_ticks(pid) is None
    assert (folder / "adapter").exists()


def test_submitting_again_starts_nothing(make: Make) -> None:
    folder = make("wait")
    handles = {LocalLauncher(MODULE).submit(folder, 1, {}) for _ in range(3)}
    assert len(handles) == 1
    worker(folder)
    (folder / "go").touch()
    launcher = LocalLauncher(MODULE)
    assert ended(launcher, handle := handles.pop()) == 0
    assert launcher.submit(folder, 1, {}) == handle
    assert ended(launcher, handle) == 0
    assert begun(folder) == 1


def test_an_attempt_that_died_unseen_is_not_started_again(make: Make) -> None:
    folder = make("wait")
    launcher = LocalLauncher(MODULE)
    handle = launcher.submit(folder, 1, {})
    pid = worker(folder)
    os.kill(session(folder), signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)
    assert ended(launcher, handle) is None
    assert launcher.submit(folder, 1, {}) == handle
    assert begun(folder) == 1
    second = launcher.submit(folder, 2, {})
    until(lambda: begun(folder) == 2)
    assert launcher.poll([second])[second].life is Life.RUNNING


def test_reattach(make: Make) -> None:
    folder = make("finish")
    launcher = LocalLauncher(MODULE)
    assert launcher.reattach(folder, 1) is None
    (folder / "session.1").touch()  # a web process that was killed before it started anything
    assert launcher.reattach(folder, 1) is None
    handle = launcher.submit(folder, 1, {})
    assert LocalLauncher(MODULE).reattach(folder, 1) == handle
    assert ended(launcher, handle) == 0
    assert LocalLauncher(MODULE).reattach(folder, 1) == handle


def test_the_worker_outlives_whoever_started_it(make: Make) -> None:
    folder = make("wait")
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from qlora_ui.launchers.local import LocalLauncher\n"
        f"print(LocalLauncher({MODULE!r}).submit(Path(sys.argv[1]), 1, {{}}), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    start = subprocess.run(
        [sys.executable, "-c", script, folder], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert start.returncode == -signal.SIGKILL
    launcher = LocalLauncher(MODULE)
    handle = start.stdout.strip()
    worker(folder)
    assert launcher.reattach(folder, 1) == handle
    assert launcher.poll([handle])[handle].life is Life.RUNNING
    (folder / "go").touch()
    assert ended(launcher, handle) == 0


def test_a_reused_pid_is_neither_running_nor_killed(make: Make) -> None:
    """What a restart of the machine leaves: files that name pids which are other processes by now."""
    folder = make("wait")
    stranger = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True
    )
    try:
        (folder / "session.1").write_text(f"{stranger.pid}\n")
        assert owner.claim(folder, 1)
        record = (folder / "owner").read_text().replace(str(os.getpid()), str(stranger.pid))
        (folder / "owner").write_text(record)
        launcher = LocalLauncher(MODULE)
        handle = launcher.reattach(folder, 1)
        assert handle is not None
        assert launcher.poll([handle])[handle] == Poll(Life.ENDED)
        launcher.stop(handle)
        launcher.stop(handle, force=True)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_environment(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QLORA_UI_PASSWORD", "secret")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    folder = make("environment")
    launcher = LocalLauncher(MODULE)
    handle = launcher.submit(folder, 1, {"CUDA_VISIBLE_DEVICES": "1", "HF_TOKEN": "hf_x"})
    assert ended(launcher, handle) == 0
    lines = (folder / "environment").read_text().splitlines()
    assert lines == ["CUDA_VISIBLE_DEVICES=1", "HF_TOKEN=hf_x", "QLORA_UI_PASSWORD=-"]
    assert not [path for path in folder.rglob("*") if path.is_file() and path.name != "environment"
                and b"hf_x" in path.read_bytes()]  # fmt: skip


def test_no_room_is_an_oserror(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make("finish")
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(OSError):
        LocalLauncher(MODULE).submit(folder, 1, {})
    monkeypatch.undo()
    launcher = LocalLauncher(MODULE)
    assert ended(launcher, launcher.submit(folder, 1, {})) == 0, "the failed start left no lock"
