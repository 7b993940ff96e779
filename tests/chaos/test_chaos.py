"""Five faults of `make chaos`, on real jobs under the real app."""

from pathlib import Path

from tests.chaos.run import Chaos

SEED = 5  # kills and a full disk, of the app and of workers


def test_no_job_is_lost(tmp_path: Path) -> None:
    told: list[str] = []
    wrong = Chaos(tmp_path, SEED, 5, within=20, say=told.append).run()
    assert not wrong, "\n".join([*wrong, *told])
