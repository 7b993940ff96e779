"""The worker, with a limit on its address space from the moment it starts to train.

`python -m tests.training.limited MEGABYTES FOLDER --attempt N`: what it has by then, and so much more.
"""

import resource
import sys
from pathlib import Path
from typing import Any

from qlora_ui.training import __main__ as worker


def limit(megabytes: int) -> None:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    most = pages * resource.getpagesize() + megabytes * 10**6
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def limited_from_training_on(megabytes: int) -> None:
    worker.prepare_environment()
    from qlora_ui.training.callbacks import EventCallback

    begin = EventCallback.on_train_begin

    def on_train_begin(self: Any, *args: Any, **kwargs: Any) -> None:
        begin(self, *args, **kwargs)
        limit(megabytes)

    EventCallback.on_train_begin = on_train_begin  # type: ignore[method-assign]


if __name__ == "__main__":
    limited_from_training_on(int(sys.argv.pop(1)))
    sys.exit(worker.main())
