"""No file grows past what one reads at a sitting."""

import subprocess

from qlora_ui.launchers.local import ROOT

LINES = 300
KINDS = (".py", ".js", ".css", ".sh", "Makefile")


def test_no_source_or_test_file_passes_300_lines() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    files = [ROOT / name for name in listed.stdout.splitlines() if name.endswith(KINDS)]
    assert len(files) > 30
    long = {
        str(file.relative_to(ROOT)): lines
        for file in files
        if file.exists() and (lines := len(file.read_text("utf-8").splitlines())) > LINES
    }
    assert not long
