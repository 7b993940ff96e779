"""The page: `python app.py`; with `--demo` its demo job is already on its way."""

import sys
from contextlib import closing

from qlora_ui.texts.spoken import sentences

with sentences():
    from qlora_ui.jobs import open_store
    from qlora_ui.launchers import LAUNCHERS
    from qlora_ui.scheduler import Scheduler
    from qlora_ui.settings import exposure, from_env
    from qlora_ui.terminal import Doorman
    from qlora_ui.ui.server import serve


def main(demo: bool) -> None:
    settings = from_env()
    exposure(settings)
    with open_store(settings.home) as store, closing(Scheduler(store, LAUNCHERS["local"]())) as scheduler:
        scheduler.start()
        doorman = Doorman(scheduler, demo)
        serve(settings, store, scheduler, doorman.opened)
        doorman.close()


if __name__ == "__main__":
    with sentences():
        main(demo="--demo" in sys.argv[1:])
