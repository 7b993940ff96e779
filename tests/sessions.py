"""Ends what a test may have left running."""

from pathlib import Path

from qlora_ui.launchers.local import LocalLauncher


def end_sessions(root: Path) -> None:
    """Kill the workers of all job folders under `root`, and whatever they started."""
    for file in root.rglob("session.*"):
        LocalLauncher().stop(f"{file.suffix[1:]}:{file.parent}", force=True)
