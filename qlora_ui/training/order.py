"""Which bins are learned from when: the same steps of the same bins, whatever fits into memory at once."""

from collections.abc import Iterator
from math import ceil

import torch
from torch.utils.data import Sampler


class StepOrder(Sampler[list[int]]):
    """Yields micro-batches of bins by number: each epoch in a new order, which follows from seed and epoch.

    The order is cut into steps of `per_step` bins (the last step of an epoch may have fewer), and each step
    into micro-batches of at most `micro`.
    """

    def __init__(self, bins: int, per_step: int, micro: int, seed: int) -> None:
        self.bins = bins
        self.per_step = min(per_step, bins)
        self.micro = min(micro, self.per_step)
        self.seed = seed
        self.epoch = 0

    @property
    def per_update(self) -> int:
        """Micro-batches of a full step: the trainer's gradient_accumulation_steps."""
        return ceil(self.per_step / self.micro)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        full, rest = divmod(self.bins, self.per_step)
        return full * self.per_update + ceil(rest / self.micro)

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(self.bins, generator=generator).tolist()
        for start in range(0, self.bins, self.per_step):
            step = order[start : start + self.per_step]
            for first in range(0, len(step), self.micro):
                yield step[first : first + self.micro]
