"""`make chaos`: `python -m tests.chaos [--seed N] [--faults 40] [--within 5]`.

A queue of short real jobs, trained by the real worker under the real `app.py`, to which faults happen at
moments that chance picks. Resume is pressed, by the page's own route, wherever a job ended without finishing.
At the end every job must have finished once, with the losses and the adapter of a run that nobody disturbed.
"""

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path

from tests.chaos.run import Chaos


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--faults", type=int, default=40)
    parser.add_argument("--within", type=float, default=5.0, help="seconds in which every state must be true")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="qlora-chaos-"))
    wrong = Chaos(folder, arguments.seed, arguments.faults, arguments.within, say).run()
    for line in wrong:
        say(f"DOES NOT HOLD: {line}")
    if wrong:
        say(f"to look into: {folder}")
    else:
        shutil.rmtree(folder)
    say(f"seed {arguments.seed}: {'FAILED' if wrong else 'all held'}")
    return 1 if wrong else 0


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
