"""The web process and the command line stay small: no training library, whatever their modules import."""

import subprocess
import sys

import pytest

from qlora_ui.launchers.local import ROOT

HEAVY = ("torch", "transformers", "peft", "trl", "bitsandbytes", "datasets", "accelerate")


@pytest.mark.parametrize("module", ["app", "qlora_ui.__main__", "qlora_ui.terminal"])
def test_no_training_library(module: str) -> None:
    code = f"import {module}, sys; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_the_command_line_needs_no_gradio() -> None:
    code = "import qlora_ui.__main__, sys; print('gradio' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"


def test_a_worker_claims_its_folder_before_anything_heavy() -> None:
    code = (
        "import qlora_ui.owner, sys; print([n for n in ('pydantic', 'qlora_ui.config') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
