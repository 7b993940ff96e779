"""`python -m qlora_ui …` with the fake worker instead of the real one."""

import sys

from qlora_ui.__main__ import main
from qlora_ui.launchers import LAUNCHERS
from qlora_ui.launchers.local import LocalLauncher

LAUNCHERS["local"] = lambda: LocalLauncher("tests.fake_training")
sys.exit(main())
