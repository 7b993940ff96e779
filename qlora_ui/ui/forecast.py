"""When a queued job will start: from what the running ones have left, and how long like ones took."""

import heapq
import time
from collections.abc import Sequence

from qlora_ui.config import TrainConfig
from qlora_ui.jobs import Job, JobState, JobStore

FRESH = 30.0  # seconds for which the list of finished jobs is not asked for again


class Forecast:
    """Knows how long jobs took."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._took: dict[object, list[tuple[TrainConfig, float]]] = {}
        self._asked = float("-inf")

    def starts(self, ahead: Sequence[Job], left: Sequence[float | None], slots: int) -> float | None:
        """When a job starts, in seconds since the epoch, that has these before it in the queue.

        `left`: seconds that each running job still needs. None where one of them is not known."""
        needs = [self.seconds(job) for job in ahead]
        if None in left or None in needs:
            return None
        free = [seconds for seconds in left if seconds is not None]
        free += [0.0] * (slots - len(free))
        heapq.heapify(free)
        for seconds in needs:
            heapq.heappush(free, heapq.heappop(free) + (seconds or 0.0))
        return time.time() + free[0]

    def seconds(self, job: Job) -> float | None:
        """How long a job will take, by the latest finished one of the same model, rows and length."""
        if time.monotonic() - self._asked > FRESH:
            self._read()
        for config, took in reversed(self._took.get(_kind(job.config), [])):
            before, now = _work(config), _work(job.config)
            if before[0] == now[0]:
                return took * now[1] / before[1]
        return None

    def _read(self) -> None:
        self._asked = time.monotonic()
        self._took = {}
        for job in self._store.all([JobState.FINISHED]):
            if job.started and job.ended and job.attempt == 1:  # else it took longer than from its start
                self._took.setdefault(_kind(job.config), []).append((job.config, job.ended - job.started))


def _kind(config: TrainConfig) -> object:
    """Jobs of one kind take as long for as much work."""
    return (config.model, config.dataset.path, config.batch.max_length)


def _work(config: TrainConfig) -> tuple[str, float]:
    trainer = config.trainer
    if trainer.max_steps > 0:
        return "steps", trainer.max_steps * config.batch.rows_per_step
    return "epochs", trainer.num_train_epochs
