"""The files of the model a job trains: made, downloaded or checked, and then a plain folder."""
# HUB engineer took over item 5 (Hub: hub_*.py, tests/fake_hub.py and their tests); local folder is yours

from pathlib import Path

from qlora_ui.config import Model
from qlora_ui.training.demo_model import make_demo_model
from qlora_ui.training.hub_model import hub_model
from qlora_ui.training.progress import Report, Stop


def model_folder(model: Model, home: Path, report: Report, stop: Stop) -> Path:
    """The folder with the model's files, ready to load.

    `report(phase, done, total, unit, rate)` hears of the download; `stop()` is asked all along.
    Raises UserError for everything a person can mend, Stopped once `stop()` is true.
    """
    if model.source == "demo":
        return make_demo_model(home, report, stop)
    if model.source == "hub":
        return hub_model(model, report, stop)
    raise NotImplementedError(model.source)
