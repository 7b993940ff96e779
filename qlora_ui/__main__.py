"""The same jobs without a page: `python -m qlora_ui init|train|jobs`."""

import argparse
import json
import secrets
import sys
import time
from pathlib import Path

from pydantic import ValidationError

from qlora_ui import config_file, owner, settings
from qlora_ui.config import Dataset, Model, TrainConfig
from qlora_ui.errors import UserError
from qlora_ui.folders import write_folder
from qlora_ui.jobs import JobState
from qlora_ui.launchers import LAUNCHERS
from qlora_ui.launchers.base import Launcher, Life
from qlora_ui.outcome import last_attempt, outcome
from qlora_ui.presets import PRESETS, demo_config
from qlora_ui.terminal import Interrupts, run, say
from qlora_ui.texts import text
from qlora_ui.texts.spoken import language, sentences

LAUNCHER = "local"


def main(arguments: list[str] | None = None) -> int:
    chosen = _parser().parse_args(arguments)
    with sentences():
        try:
            return int(chosen.run(chosen))
        except ValidationError as error:
            sys.stderr.write("\n".join(config_file.problems(error, language())) + "\n")
            return owner.EXIT_FAILED
        except BrokenPipeError:  # `… jobs | head`
            return 0


def init(chosen: argparse.Namespace) -> int:
    """Print a config to start from."""
    lora = PRESETS[chosen.preset].lora
    if (chosen.model, chosen.data) == ("demo", "demo"):
        config = demo_config().model_copy(update={"lora": lora})
    else:
        config = TrainConfig(model=_model(chosen.model), dataset=_dataset(chosen.data), lora=lora)
    print(config.model_dump_json(indent=1))
    return 0


def train(chosen: argparse.Namespace) -> int:
    """Train in the foreground, a new job or one that goes on; the page follows. Returns the exit code."""
    home = chosen.home.absolute() if chosen.home else settings.from_env().home
    launcher = LAUNCHERS[LAUNCHER]()
    interrupts = Interrupts()  # before the start: none may be lost
    try:
        if chosen.resume:
            folder, attempt = _resumable(home, chosen.resume, launcher)
        else:
            folder, attempt = home / "jobs" / secrets.token_hex(5), 1
            write_folder(folder, config_file.read(chosen.config))
        say(text(language(), "cli.job", id=folder.name, folder=folder))
        return run(launcher, folder, attempt, interrupts)
    except OSError as error:
        raise UserError("home_unwritable", home=str(home), reason=error.strerror or str(error)) from error


def _resumable(home: Path, job_id: str, launcher: Launcher) -> tuple[Path, int]:
    """A job's folder and its next attempt. Raises UserError `no_such_job`, `job_runs`, `job_finished`."""
    jobs = home / "jobs"
    if not jobs.is_dir() or job_id not in (path.name for path in jobs.iterdir()):
        raise UserError("no_such_job", id=job_id, home=str(home))
    folder = jobs / job_id
    last = last_attempt(folder)
    handle = launcher.reattach(folder, last or 1)
    if handle is not None:
        poll = launcher.poll([handle])[handle]
        if poll.life is not Life.ENDED:
            raise UserError("job_runs", id=job_id)
        if outcome(folder, last, poll.code, asked=False)[0] is JobState.FINISHED:
            raise UserError("job_finished", id=job_id)
    return folder, last + 1


def jobs(chosen: argparse.Namespace) -> int:
    """List the jobs, from their folders alone: the page may be running."""
    home = chosen.home.absolute() if chosen.home else settings.from_env().home
    files = sorted((home / "jobs").glob("[!.]*/config.json"), key=lambda file: file.stat().st_mtime)
    for file in files:
        name = json.loads(file.read_bytes()).get("name", "")
        written = time.strftime("%Y-%m-%d %H:%M", time.localtime(file.stat().st_mtime))
        print(f"{file.parent.name}  {written}  {_state(file.parent)}  {name}".rstrip())
    if not files:
        print(text(language(), "cli.no_jobs", home=home))
    return 0


def _state(folder: Path) -> str:
    launcher = LAUNCHERS[LAUNCHER]()
    attempt = last_attempt(folder) or 1
    handle = launcher.reattach(folder, attempt)
    if handle is None:
        return text(language(), "cli.not_started")
    poll = launcher.poll([handle])[handle]
    if poll.life is not Life.ENDED:
        return text(language(), "state.running")
    state, fields = outcome(folder, attempt, poll.code, asked=poll.code == owner.EXIT_STOPPED)
    return text(language(), f"state.{state}.{fields['reason']}" if "reason" in fields else f"state.{state}")


def _model(name: str) -> Model:
    if name == "demo":
        return Model()
    if (folder := Path(name).expanduser()).is_dir():
        return Model(source="folder", name_or_path=str(folder.resolve()))
    _refuse_path(name)
    return Model(source="hub", name_or_path=name)


def _dataset(name: str) -> Dataset:
    if name == "demo":
        return Dataset()
    if (file := Path(name).expanduser()).is_file():
        return Dataset(source="file", path=str(file.resolve()), name=file.name)
    _refuse_path(name)
    return Dataset(source="hub", path=name)


def _refuse_path(name: str) -> None:
    """Hub ids have one slash at most: what looks like a path was meant as one."""
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise UserError("no_such_path", path=name)


def _parser() -> argparse.ArgumentParser:
    spoken = language()
    parser = argparse.ArgumentParser(prog="python -m qlora_ui", description=text(spoken, "cli.help"))
    commands = parser.add_subparsers(required=True, metavar="init | train | jobs")

    def command(run: object, name: str) -> argparse.ArgumentParser:
        words = text(spoken, f"cli.help.{name}")
        added = commands.add_parser(name, help=words, description=words)
        added.set_defaults(run=run)
        return added

    starts = command(init, "init")
    starts.add_argument("--preset", choices=PRESETS, default="general", help=text(spoken, "cli.help.preset"))
    starts.add_argument("--model", default="demo", help=text(spoken, "cli.help.model"))
    starts.add_argument("--data", default="demo", help=text(spoken, "cli.help.data"))
    trains = command(train, "train")
    what = trains.add_mutually_exclusive_group(required=True)
    config = text(spoken, "cli.help.config")
    what.add_argument("config", type=Path, nargs="?", metavar="CONFIG.json", help=config)
    what.add_argument("--resume", metavar="ID", help=text(spoken, "cli.help.resume"))
    for user in (trains, command(jobs, "jobs")):
        user.add_argument("--home", type=Path, help=text(spoken, "cli.help.home"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
