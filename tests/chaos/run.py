"""One run: jobs, faults one after another, what came of each, and what must hold at the end."""

import itertools
import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from tests.chaos.faults import faults
from tests.chaos.jobs import make_configs, train_undisturbed
from tests.chaos.verdict import faults_of, record
from tests.chaos.world import World, environment
from tests.waiting import until

FEW = 10  # faults of which `make test` takes its share: it is in a hurry
TO_THE_END = 120  # seconds a job that is left over may take


class Chaos:
    """`say` is told each line of the report."""

    def __init__(
        self, folder: Path, seed: int, count: int, within: float, say: Callable[[str], None]
    ) -> None:
        self.say = say
        self.folder = folder
        self.few = count < FEW
        self.world = World(folder, within, waiting=1 if self.few else 2)
        self.faults = faults(random.Random(seed), count, self.world.own_disk)
        self.began = time.monotonic()
        self.slowest = 0.0  # seconds until a state was true again
        self.wrong: list[str] = []
        say(f"seed {seed}, {count} faults; disk: {'a tmpfs' if self.world.own_disk else 'failpoints only'}")

    def run(self) -> list[str]:
        """What does not hold; empty if all does."""
        try:
            configs = make_configs(self.folder, [self.folder / "alone", self.world.home])
            configs = [one for one in configs if one.name == "dropout" or not self.few]
            self.world.supply = itertools.cycle(configs)
            with ThreadPoolExecutor(1) as beside:
                undisturbed = {
                    config.name: beside.submit(
                        train_undisturbed, config, self.folder / "alone", environment()
                    )
                    for config in configs
                }
                self._disturb()
                self._finish()
                self._judge(undisturbed)
        except AssertionError as error:
            self.wrong.append(str(error))
        finally:
            self.world.close(kept=self.folder / "kept" if self.wrong else None)
        self.say(f"{self._at()}; slowest true state after {self.slowest:.1f} s")
        return self.wrong

    def _disturb(self) -> None:
        self.say(f"\n{'':>3} {'fault':32} {'what happened':66} true after   at")
        self.world.keep_snapshots()
        for number, fault in enumerate(self.faults, 1):
            self.world.arm(fault.failpoint)
            self.world.resume_ended()
            what = fault.make(self.world)
            if not self.world.app_lives():
                self.world.start()
            seconds = self.world.until_true()
            self.slowest = max(seconds, self.slowest)
            self.say(
                f"{number:3} {fault.kind + ' ' + fault.failpoint:32} {what:66} {seconds:6.1f} s {self._at()}"
            )
        kinds = Counter(fault.kind for fault in self.faults)
        self.say("\n" + ", ".join(f"{kind}: {count}" for kind, count in sorted(kinds.items())))

    def _at(self) -> str:
        return f"{time.monotonic() - self.began:6.0f} s"

    def _finish(self) -> None:
        """All jobs to their ends, with nothing disturbing them any more."""
        self.world.supply = iter(())
        self.world.arm("")
        deadline = time.monotonic() + TO_THE_END * (1 + len(self.world.unfinished()))
        while left := self.world.unfinished():
            assert time.monotonic() < deadline, f"not finished: {left}"
            self.world.thaw()
            self.world.resume_ended()
            time.sleep(0.5)
        self.world.until_true()
        self.world.close_app()
        with suppress(AssertionError):
            until(lambda: not self.world.leftovers(), seconds=10, every=0.1)
        self.wrong += [f"left over: {line}" for line in self.world.leftovers()]

    def _judge(self, undisturbed: dict[str, Future[Path]]) -> None:
        self.say(f"\n{'job':12} {'name':14} {'attempts':>8} {'steps':>6} {'loss':>8}  holds")
        for job_id, config in self.world.jobs.items():
            job = self.world.folder(job_id)
            wrong = faults_of(job, undisturbed[config.name].result(), self.world.cuts.get(job_id, 0))
            self.wrong += [f"{job_id}: {line}" for line in wrong]
            ran = record(job)
            loss = ran.loss[max(ran.loss)]
            told = f"{job_id:12} {config.name:14} {ran.attempts:8} {max(ran.loss):6} {loss:8.4f}"
            self.say(f"{told}  {'; '.join(wrong) or 'yes'}")
