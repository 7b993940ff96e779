"""`owner`: one worker an attempt, and no other process taken for it."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from qlora_ui import owner


def test_claims_go_up_only(tmp_path: Path) -> None:
    assert owner.read(tmp_path) is None
    assert owner.claim(tmp_path, 1)
    assert not owner.claim(tmp_path, 1)
    assert not owner.superseded(tmp_path, 1)
    assert owner.claim(tmp_path, 12)
    assert not owner.claim(tmp_path, 3)
    assert owner.superseded(tmp_path, 1)
    assert not owner.superseded(tmp_path, 12)
    assert owner.read(tmp_path) == owner.Owner(
        12, os.getpid(), owner.start_ticks(os.getpid()) or 0, owner.boot_id()
    )


def test_one_of_many_claims_wins(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda _: owner.claim(tmp_path, 1), range(32)))
    assert won.count(True) == 1


def test_alive_is_that_process_on_that_start_of_the_machine(tmp_path: Path) -> None:
    owner.claim(tmp_path, 1)
    me = owner.read(tmp_path)
    assert me is not None and owner.alive(me)
    assert not owner.alive(replace(me, ticks=me.ticks + 1)), "a later process with the same pid"
    assert not owner.alive(replace(me, boot="another")), "before the machine restarted"


def test_a_zombie_is_not_alive() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    deadline = time.monotonic() + 20
    while owner.start_ticks(child.pid) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert Path(f"/proc/{child.pid}").exists(), "not yet reaped, so its pid is not free"
    child.wait()
    assert owner.start_ticks(child.pid) is None


def test_a_name_with_brackets_is_read(tmp_path: Path) -> None:
    program = tmp_path / "a ) b ("
    program.symlink_to("/bin/sleep")
    child = subprocess.Popen([program, "60"])
    try:
        assert (owner.start_ticks(child.pid) or 0) >= (owner.start_ticks(os.getpid()) or 0) > 0
    finally:
        child.kill()
        child.wait()


def test_a_torn_record_is_no_owner(tmp_path: Path) -> None:
    (tmp_path / "owner").write_text('{"attempt": 3, "pi')
    assert owner.read(tmp_path) is None
    assert owner.claim(tmp_path, 1)
