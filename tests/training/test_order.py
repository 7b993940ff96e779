"""The steps of an epoch hold the same bins, whatever the micro-batch."""

import pytest

from qlora_ui.training.order import StepOrder


def steps(order: StepOrder) -> list[list[int]]:
    """The bins of each step, as the trainer puts micro-batches together."""
    batches = list(order)
    assert len(batches) == len(order)
    size = order.per_update
    return [
        [bin for batch in batches[start : start + size] for bin in batch]
        for start in range(0, len(batches), size)
    ]


@pytest.mark.parametrize(("bins", "per_step"), [(13, 4), (12, 4), (3, 5), (1, 1), (10, 3)])
def test_any_micro_batch_makes_the_same_steps(bins: int, per_step: int) -> None:
    expected = steps(StepOrder(bins, per_step, 1, seed=7))
    assert [len(step) for step in expected[:-1]] == [per_step] * (len(expected) - 1)
    assert sorted(bin for step in expected for bin in step) == list(range(bins))
    for micro in (2, 3, 4, 100):
        order = StepOrder(bins, per_step, micro, seed=7)
        assert steps(order) == expected
        assert max(map(len, order)) <= micro


def test_an_epochs_order_follows_from_seed_and_number() -> None:
    order = StepOrder(50, 4, 2, seed=7)
    first = list(order)
    order.set_epoch(1)
    second = list(order)
    order.set_epoch(0)
    assert first == list(order) != second
    assert first != list(StepOrder(50, 4, 2, seed=8))
