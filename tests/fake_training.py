"""Stands in for `qlora_ui.training` where a test is about processes, not about training.

Same contract (claim, events, SIGTERM, exit codes); what it does is said by the job's name.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from qlora_ui import attempts, owner
from qlora_ui.events import Answer, Artifact, Attempt, Ended, EventWriter, Failure, Metrics, Phase

STEPS = 5


class Fake:
    def __init__(self, folder: Path, attempt: int) -> None:
        self.folder = folder
        self.micro_batch = attempts.config(folder, attempt).trainer.per_device_train_batch_size
        self.events = EventWriter(folder / "events.jsonl")
        self.events.append(Attempt(attempt))
        self.asked = False
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, *_: object) -> None:
        self.asked = True

    def finish(self) -> int:
        """All steps at once, an adapter, the end."""
        self.events.append(Phase("loading_model", 50, 100, "bytes", 10.0))
        self.events.append(Answer(0, "What is 2 + 2?", "five\x1b[2J"))
        self.events.append(Phase("training", 0, STEPS, "steps"))
        for step in range(1, STEPS + 1):
            self.events.append(Metrics(step, step / STEPS, {"loss": 1 / step, "learning_rate": 1e-4}))
        self.events.append(Answer(STEPS, "What is 2 + 2?", "four"))
        return self._save(owner.EXIT_FINISHED)

    def fail(self) -> int:
        self.events.append(Failure("disk_full", {"folder": "/somewhere"}, "Traceback …"))
        return owner.EXIT_FAILED

    def hungry(self) -> int:
        """Has memory for two packs at once."""
        self.events.append(Phase("training", 0, STEPS, "steps"))
        if self.micro_batch <= 2:
            return self.finish()
        self.events.append(Failure("out_of_memory", {"micro_batch": self.micro_batch}, "Traceback …"))
        return owner.EXIT_OUT_OF_MEMORY

    def crash(self) -> int:
        """Ends like a worker whose libraries do not load: no event says why."""
        raise SystemExit(3)

    def wait(self) -> int:
        """Goes on until a file `go` lies in its folder, or it is asked to stop."""
        self.events.append(Phase("training", 0, STEPS, "steps"))
        self.events.append(Metrics(1, 0.2, {"loss": 1.0}))
        while not (self.folder / "go").exists():
            if self.asked:
                return self._save(owner.EXIT_STOPPED)
            time.sleep(0.01)
        return self.finish()

    def deaf(self) -> int:
        """Does not end when asked, and has a child."""
        with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as child:
            (self.folder / "child").write_text(str(child.pid))
            self.events.append(Phase("training", 0, STEPS, "steps"))
            while True:
                time.sleep(0.01)

    def orphan(self) -> int:
        """Ends and leaves a child behind."""
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        (self.folder / "child").write_text(str(child.pid))
        os._exit(owner.EXIT_FINISHED)

    def environment(self) -> int:
        """Writes down what it was given."""
        names = ("CUDA_VISIBLE_DEVICES", "HF_TOKEN", "QLORA_UI_PASSWORD")
        lines = [f"{name}={os.environ.get(name, '-')}" for name in names]
        (self.folder / "environment").write_text("\n".join(lines))
        return self.finish()

    def _save(self, code: int) -> int:
        adapter = self.folder / "adapter"
        adapter.mkdir(exist_ok=True)
        (adapter / "adapter_model.safetensors").write_bytes(b"weights")
        self.events.append(Artifact("adapter", "adapter", 7))
        self.events.append(Ended(code))
        self.events.close()
        return code


def main(folder: Path, attempt: int) -> int:
    name = attempts.config(folder, attempt).name
    if name == "unborn":  # dies before its claim
        return 5
    if not owner.claim(folder, attempt):
        return owner.EXIT_FAILED
    with (folder / "begun").open("a") as file:  # counts true starts
        file.write(f"{attempt}\n")
    act: Callable[[], int] = getattr(Fake(folder, attempt), name)
    return act()


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), int(sys.argv[3])))
