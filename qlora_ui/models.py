"""The demo model's folder."""

from pathlib import Path

DEMO_NAME = "SmolLM2-135M-Instruct"


def demo_folder(home: Path) -> Path:
    """Where the demo model lies, made by `training/demo_model.py` at the first job that uses it."""
    return home / "models" / DEMO_NAME


def demo_ready(home: Path) -> bool:
    """Whether it is there: it is renamed into place when whole."""
    return (demo_folder(home) / "config.json").is_file()
