"""What the page works with, handed from `app.py` down to every view."""

from collections.abc import Callable
from dataclasses import dataclass

from qlora_ui import hardware
from qlora_ui.hardware import Gpu, Memory
from qlora_ui.jobs import JobStore
from qlora_ui.scheduler import Scheduler
from qlora_ui.settings import Settings


@dataclass(frozen=True, slots=True)
class Context:
    """The server's settings, its jobs, and the hardware as it is at the moment of asking."""

    settings: Settings
    store: JobStore
    scheduler: Scheduler
    gpus: Callable[[], list[Gpu]] = hardware.gpus
    memory: Callable[[], Memory] = hardware.memory
