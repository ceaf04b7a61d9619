"""In which order a worker looks at its queues."""

from __future__ import annotations

from kombu.utils.scheduling import priority_cycle

from shared.queue.names import QUEUES

FAIR_SHARE = 5
"""Of so many messages that a worker takes, one may come from behind the queues before it."""


class FairPriorities(priority_cycle):  # type: ignore[misc]
    """The most urgent queue that has a message, but for every fifth message that is taken.

    For that one the other queues come first, each of them in its turn. So a queue of n queues in
    which messages wait gets at least one of 5 (n - 1) messages: urgent and routine one in ten each,
    whatever arrives before them.
    """

    def __init__(self, it: list[str] | None = None) -> None:
        super().__init__(it)
        self._taken = 0

    def consume(self, n: int) -> list[str]:
        """Up to n queues, in the order in which they are to be looked at."""
        # kombu gives its queues in no order.
        queues = sorted(self.items[:n], key=QUEUES.index)
        round_number, place = divmod(self._taken, FAIR_SHARE)
        if place == FAIR_SHARE - 1 and len(queues) > 1:
            favoured = queues.pop(1 + round_number % (len(queues) - 1))
            queues.insert(0, favoured)
        return queues

    def rotate(self, last_used: str) -> None:
        """Count a message that was taken from a queue."""
        del last_used
        self._taken += 1
