"""A worker that keeps, for the browser tests: it writes checkpoints as the real one does, goes on from the
last one, and runs out of memory when its job's name says so. Any other name: `tests.fake_training`."""

import json
import signal
import sys
import time
from pathlib import Path

from qlora_ui import attempts, checkpoints, owner
from qlora_ui.events import Artifact, Attempt, EventWriter, Failure, Metrics, Phase
from tests import fake_training

STEPS = 20
WRITTEN = 6  # the step at which the first attempt writes a checkpoint; it goes on to
REACHED = 8
GB = 10**9


class Keeper:
    def __init__(self, folder: Path, attempt: int) -> None:
        self.folder = folder
        self.attempt = attempt
        self.events = EventWriter(folder / "events.jsonl")
        saved = checkpoints.latest(folder)
        self.step = saved.step if saved else 0
        self.events.append(Attempt(attempt, self.step))
        self.asked = False
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, *_: object) -> None:
        self.asked = True

    def keep(self) -> int:
        """A few steps and a checkpoint, some more steps; then waits to be stopped, or for a file `go`."""
        self.events.append(Phase("training", self.step, STEPS, "steps"))
        self._until(WRITTEN)
        if self.attempt == 1:
            self._checkpoint()
        self._until(REACHED if self.attempt == 1 else self.step + 2)
        while not (self.folder / "go").exists():
            if self.asked:
                self._checkpoint()
                return self._end(owner.EXIT_STOPPED)
            time.sleep(0.01)
        self._until(STEPS)
        return self._end(owner.EXIT_FINISHED)

    def memory(self) -> int:
        """Runs out of memory, until its rows are shorter."""
        if attempts.overrides(self.folder, self.attempt):
            return self.keep()
        self._until(3)
        self._checkpoint()
        values = {"phase": "training", "asked": 2 * GB, "free": GB, "used": 15 * GB, "micro_batch": 1}
        self.events.append(Failure("out_of_gpu_memory", values, "Traceback …"))
        return owner.EXIT_OUT_OF_MEMORY

    def _until(self, step: int) -> None:
        while self.step < step:
            self.step += 1
            values = {"loss": 2 / self.step, "learning_rate": 1e-4}
            if self.step % 2 == 0:
                values["eval_loss"] = 1.0 + abs(self.step - 6) / 10
            self.events.append(Metrics(self.step, self.step / STEPS, values))

    def _checkpoint(self) -> None:
        part = self.folder / "checkpoints" / f"step-{self.step}.part"
        part.mkdir(parents=True)
        (part / "adapter.safetensors").write_bytes(b"w" * 400_000)
        manifest = {
            "step": self.step, "time": time.time(), "loss": None, "dtype": "float32", "overrides": {},
            "attempt": self.attempt, "files": {"adapter.safetensors": 400_000},
        }  # fmt: skip
        (part / "checkpoint.json").write_text(json.dumps(manifest))
        part.rename(part.with_suffix(""))

    def _end(self, code: int) -> int:
        adapter = self.folder / "adapter"
        adapter.mkdir(exist_ok=True)
        (adapter / "adapter_model.safetensors").write_bytes(b"weights")
        self.events.append(Artifact("adapter", "adapter", 7, 6))
        self.events.close()
        return code


def main(folder: Path, attempt: int) -> int:
    name = attempts.config(folder, attempt).name
    if name not in ("keep", "memory"):
        return fake_training.main(folder, attempt)
    if not owner.claim(folder, attempt):
        return owner.EXIT_FAILED
    code: int = getattr(Keeper(folder, attempt), name)()
    return code


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), int(sys.argv[3])))
