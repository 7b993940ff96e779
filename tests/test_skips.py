"""The rule about skips in `conftest.py` holds."""

import subprocess
import sys
from pathlib import Path

import pytest

from qlora_ui.launchers.local import ROOT

AT_RUN = "import pytest\ndef test_it():\n    pytest.skip({reason!r})\n"
AT_IMPORT = "import pytest\npytest.skip({reason!r}, allow_module_level=True)\n"
MARKED = "import pytest\n@pytest.mark.skipif(True, reason={reason!r})\ndef test_it():\n    pass\n"


@pytest.mark.parametrize("source", [AT_RUN, AT_IMPORT, MARKED], ids=["run", "import", "mark"])
@pytest.mark.parametrize(("reason", "code"), [("no CUDA here", 0), ("too slow", 1)])
def test_only_allowed_reasons(tmp_path: Path, source: str, reason: str, code: int) -> None:
    (tmp_path / "conftest.py").write_bytes((ROOT / "tests" / "conftest.py").read_bytes())
    (tmp_path / "test_it.py").write_text(source.format(reason=reason))
    (tmp_path / "test_other.py").write_text("def test_other():\n    pass\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path],
        cwd=tmp_path, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == code, done.stdout
    assert ("REFUSED SKIP" in done.stdout) == bool(code)
