"""The files of the model a job trains: made, downloaded or checked, and then a plain folder."""

from pathlib import Path

from qlora_ui.config import Model
from qlora_ui.errors import UserError
from qlora_ui.models import weight_files
from qlora_ui.training.demo_model import make_demo_model
from qlora_ui.training.hub_model import hub_model
from qlora_ui.training.model_checks import check_config
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
    return local_model(Path(model.name_or_path))


def local_model(folder: Path) -> Path:
    """A folder of this server, looked over before the library loads it.

    Raises UserError no_model_folder, no_model_config, no_safetensors, weights_missing, and as `check_config`.
    """
    if not folder.is_dir():
        raise UserError("no_model_folder", folder=str(folder))
    config = folder / "config.json"
    if not config.is_file():
        raise UserError("no_model_config", id=str(folder))
    check_config(config)
    files = weight_files(folder)
    if not files:
        raise UserError("no_safetensors")
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise UserError("weights_missing", folder=str(folder), files=", ".join(missing))
    return folder
