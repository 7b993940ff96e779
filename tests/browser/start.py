"""The real server with `tests.browser.keeper` as its worker: a test's stand-in for `app.py`."""

from qlora_ui.jobs import JobStore
from qlora_ui.launchers.local import LocalLauncher
from qlora_ui.scheduler import Scheduler
from qlora_ui.settings import from_env
from qlora_ui.ui.server import serve


def main() -> None:
    settings = from_env()
    store = JobStore(settings.home)
    scheduler = Scheduler(store, LocalLauncher("tests.browser.keeper"), devices=lambda: [""])
    scheduler.start()
    try:
        serve(settings, store, scheduler)
    finally:
        scheduler.close()
        store.close()


if __name__ == "__main__":
    main()
