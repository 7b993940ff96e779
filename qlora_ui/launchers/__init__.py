"""Where workers run: one file a launcher, one line here."""

from collections.abc import Callable

from qlora_ui.launchers.base import Launcher
from qlora_ui.launchers.local import LocalLauncher

LAUNCHERS: dict[str, Callable[[], Launcher]] = {"local": LocalLauncher}
