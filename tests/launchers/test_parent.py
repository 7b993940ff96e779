"""What a worker's parent sees of its memory, with the kernel's files as the test says."""

import json
import os
import re
from pathlib import Path

import pytest

from qlora_ui.config import TrainConfig
from qlora_ui.folders import write_folder
from qlora_ui.launchers import parent
from qlora_ui.launchers.base import Life
from qlora_ui.launchers.local import LocalLauncher
from tests.waiting import until

GB = 1_000_000_000
MACHINE = {
    "/proc/meminfo": "MemTotal:       32000000 kB\nMemAvailable:   16000000 kB\n",
    "/proc/vmstat": "pgfault 7\noom_kill 4\n",
    "/proc/7/statm": "900000 500000 300 1 0 1 0\n",
}
V2 = {
    "/proc/self/cgroup": "0::/user.slice/mine\n",
    "/sys/fs/cgroup/user.slice/mine/memory.max": f"{4 * GB}\n",
    "/sys/fs/cgroup/user.slice/mine/memory.current": f"{3 * GB}\n",
    "/sys/fs/cgroup/user.slice/mine/memory.stat": f"anon 5\ninactive_file {GB // 2}\n",
    "/sys/fs/cgroup/user.slice/mine/memory.events": "oom 1\noom_kill 1\n",
}
V1 = {
    "/proc/self/cgroup": "9:name=systemd:/\n4:memory:/docker/abc\n0::/\n",  # the path is the host's
    "/sys/fs/cgroup/memory/memory.limit_in_bytes": f"{4 * GB}\n",
    "/sys/fs/cgroup/memory/memory.usage_in_bytes": f"{3 * GB}\n",
    "/sys/fs/cgroup/memory/memory.stat": f"cache 5\ninactive_file {GB // 2}\n",
    "/sys/fs/cgroup/memory/memory.oom_control": "oom_kill_disable 0\noom_kill 1\n",
}


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    found: dict[str, str] = dict(MACHINE)
    monkeypatch.setattr(parent, "_read", lambda path: found.get(str(path), ""))
    return found


@pytest.mark.parametrize(("cgroup", "available"), [({}, 16_384_000_000), (V2, 1.5 * GB), (V1, 1.5 * GB)])
def test_used_and_available(files: dict[str, str], cgroup: dict[str, str], available: float) -> None:
    files.update(cgroup)
    memory = parent.Memory()
    memory.look(7)
    told = memory.told(9 * GB)
    assert told == {
        "oom_kill": False, "peak": 9 * GB,
        "memory": [[0, 500_000 * os.sysconf("SC_PAGE_SIZE"), available]],
    }  # fmt: skip
    memory.look(8)  # gone
    assert len(memory.told(0)["memory"]) == 1


def test_without_a_limit_the_machine_s(files: dict[str, str]) -> None:
    files.update({**V2, "/sys/fs/cgroup/user.slice/mine/memory.max": "max\n"})
    memory = parent.Memory()
    memory.look(7)
    assert memory.told(0)["memory"][0][2] == 16_384_000_000


@pytest.mark.parametrize(
    ("cgroup", "counter"),
    [
        ({}, "/proc/vmstat"),
        (V2, "/sys/fs/cgroup/user.slice/mine/memory.events"),
        (V1, "/sys/fs/cgroup/memory/memory.oom_control"),
    ],
)
def test_a_kill_for_memory_is_counted(files: dict[str, str], cgroup: dict[str, str], counter: str) -> None:
    files.update(cgroup)
    memory = parent.Memory()
    if cgroup:
        files["/proc/vmstat"] = "oom_kill 5\n"  # somebody else's
        assert not memory.told(0)["oom_kill"]
    files[counter] = "oom_kill 9\n"
    assert memory.told(0)["oom_kill"]


def test_the_last_minute_fits_its_place(files: dict[str, str]) -> None:
    files.update(V2)
    files["/proc/7/statm"] = "1 999999999 0"
    memory = parent.Memory()
    for _ in range(100):
        memory.look(7)
    record = json.dumps({"attempt": 1000, "code": -9, **memory.told(10**13)})
    assert len(memory.told(0)["memory"]) == parent.SAMPLES and len(record) < parent.LENGTH


def test_an_end_is_on_record_at_once_and_with_the_peak(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a parent that looks at the memory once in ten minutes."""
    patient = tmp_path / "parent.py"
    source = Path(parent.__file__).read_text("utf-8")
    patient.write_text(re.sub(r"^INTERVAL = 1.0", "INTERVAL = 600.0", source, flags=re.MULTILINE))
    monkeypatch.setattr(parent, "__file__", str(patient))
    folder = tmp_path / "job"
    write_folder(folder, TrainConfig(name="wait"))
    launcher = LocalLauncher("tests.fake_training")
    handle = launcher.submit(folder, 1, {})
    events = folder / "events.jsonl"
    until(lambda: events.exists() and b'"training"' in events.read_bytes())
    launcher.stop(handle)
    until(lambda: launcher.poll([handle])[handle].life is Life.ENDED)
    record = json.loads((folder / "exit.1.json").read_bytes())
    assert (record["code"], record["oom_kill"], record["memory"]) == (130, False, [])
    assert 10_000_000 < record["peak"] < GB
