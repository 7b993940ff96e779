"""The worker process of a job: `python -m qlora_ui.training JOB_FOLDER --attempt N`.

Reads `config.json` and `attempt.N.json`, writes `events.jsonl`, `checkpoints/` and `adapter/`.
Exit codes are those of `owner.py`.
"""

import argparse
import gc
import logging
import os
import sys
import traceback
from contextlib import suppress
from pathlib import Path

from qlora_ui import attempts, checkpoints, owner
from qlora_ui.errors import Stopped
from qlora_ui.events import Ended
from qlora_ui.training.resuming import announce, beginning
from qlora_ui.training.worker import StopRequested, Superseded, Worker


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m qlora_ui.training", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--attempt", type=int, default=1)
    arguments = parser.parse_args()
    folder = arguments.folder.absolute()
    if not owner.claim(folder, arguments.attempt):
        return owner.EXIT_FAILED
    worker = Worker(folder, arguments.attempt)
    try:
        code = work(worker)
        with suppress(OSError, Superseded):
            worker.tell(Ended(code))
        return code
    finally:
        worker.end()


def work(worker: Worker) -> int:
    """Train, and say why where that fails. Returns the exit code."""
    try:
        worker.listen()
        checkpoints.tidy(worker.folder)
        config = attempts.config(worker.folder, worker.attempt)
        worker.micro_batch = config.trainer.per_device_train_batch_size
        begins = beginning(worker, config)
        announce(worker, begins)
        prepare_environment()
        from qlora_ui.training.train import train  # takes seconds, in which Stop must act

        train(config, worker, begins)
        return owner.EXIT_FINISHED
    except (StopRequested, Stopped):
        return owner.EXIT_STOPPED
    except Superseded:
        return owner.EXIT_FAILED
    except Exception as error:
        told = traceback.format_exc()
        traceback.clear_frames(error.__traceback__)  # they hold the model: without it there is memory again
        sys.stderr.write(told)  # to worker.log
        from qlora_ui.training.failures import OUT_OF_MEMORY, explain

        reason = explain(error, worker)
        worker.fail(reason.key, reason.values, told)
        return owner.EXIT_OUT_OF_MEMORY if reason.key in OUT_OF_MEMORY else owner.EXIT_FAILED


def prepare_environment() -> None:
    """What must be set before the libraries are imported."""
    # Where this package is installed, bitsandbytes fetches a binary from the Hub at import: keep it out.
    sys.modules["kernels"] = None  # type: ignore[assignment]
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)  # it would say so
    # How long a thread that waits for the others spins before it sleeps. GNU OpenMP's own choice is so long
    # that one other busy program makes a job on 2 cores 4 times slower; to sleep at once (PASSIVE) costs a
    # quarter on a quiet machine. This loses 3 % there and 20 % beside the other program.
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    # One GPU a job. The launcher names it; without one, the first: Trainer would spread over all it sees.
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")


if __name__ == "__main__":
    code = main()
    gc.freeze()  # else Python looks through all that the libraries made before it ends: seconds after a Stop
    sys.exit(code)
