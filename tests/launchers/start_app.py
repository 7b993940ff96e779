"""`python app.py …` with the fake worker instead of the real one, which goes on until it is told to end."""

import runpy

from qlora_ui import presets, terminal
from qlora_ui.config import TrainConfig
from qlora_ui.launchers import LAUNCHERS
from qlora_ui.launchers.local import ROOT, LocalLauncher


def short_demo_config() -> TrainConfig:
    """The demo job, with the name by which `tests.fake_training` knows what to do."""
    return presets.short_demo_config().model_copy(update={"name": "wait"})


LAUNCHERS["local"] = lambda: LocalLauncher("tests.fake_training")
terminal.short_demo_config = short_demo_config
runpy.run_path(str(ROOT / "app.py"), run_name="__main__")
