"""Stat before urgent before routine, and none of them starves."""

from collections import Counter
from itertools import pairwise

import pytest

from shared.queue.fairness import FAIR_SHARE, FairPriorities
from shared.queue.names import QUEUES


def take(cycle: FairPriorities, waiting: Counter) -> str:
    """What a worker gets that asks for the queues in the cycle's order."""
    queue = next(name for name in cycle.consume(len(QUEUES)) if waiting[name])
    waiting[queue] -= 1
    cycle.rotate(queue)
    return queue


def test_a_more_urgent_queue_comes_first() -> None:
    cycle = FairPriorities(["routine", "stat", "urgent"])  # kombu gives them in no order
    waiting = Counter(stat=2, urgent=2, routine=2)
    taken = [take(cycle, waiting) for _ in range(4)]
    assert taken == ["stat", "stat", "urgent", "urgent"]


@pytest.mark.parametrize("behind", ["urgent", "routine"])
def test_no_queue_starves_however_much_comes_before_it(behind: str) -> None:
    cycle = FairPriorities(list(QUEUES))
    waiting = Counter(stat=10_000, urgent=10_000, routine=10_000)
    taken = [take(cycle, waiting) for _ in range(1000)]
    bound = FAIR_SHARE * (len(QUEUES) - 1)
    positions = [index for index, queue in enumerate(taken) if queue == behind]
    assert positions[0] < bound
    assert max(b - a for a, b in pairwise(positions)) <= bound
    assert Counter(taken)["stat"] >= 1000 * (FAIR_SHARE - 1) / FAIR_SHARE


def test_a_worker_of_one_queue_looks_at_that_one() -> None:
    cycle = FairPriorities(["stat"])
    for _ in range(3 * FAIR_SHARE):
        assert cycle.consume(1) == ["stat"]
        cycle.rotate("stat")
