"""Joins what many threads ask of the database into one transaction, without a timer.

While one group is at work the next one gathers. A quiet worker's groups are of one; a busy one
saves most of its round trips.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class _Call(Generic[Asked, Answer]):
    asked: Asked
    future: Future[Answer] = field(default_factory=Future)


class Grouped(Generic[Asked, Answer]):
    """A function that is called by one thread for all that wait for it."""

    def __init__(
        self,
        work: Callable[[Sequence[Asked]], Sequence[Answer]],
        *,
        is_of_all: Callable[[Exception], bool],
        most: int = 64,
    ) -> None:
        """Join calls.

        Args:
            work: Gives an answer for each thing that is asked, in order, or raises for all.
            is_of_all: Whether an error is no matter of what was asked, such as an outage. After
                any other error, each of the group is tried alone.
            most: Largest group.
        """
        self._work = work
        self._is_of_all = is_of_all
        self._most = most
        self._waiting: deque[_Call[Asked, Answer]] = deque()
        self._turn = threading.Lock()

    def __call__(self, asked: Asked) -> Answer:
        """Ask, in whatever group; raises what the work raised."""
        call: _Call[Asked, Answer] = _Call(asked)
        self._waiting.append(call)
        with self._turn:
            while not call.future.done():  # an earlier group may have had it, or been full
                count = min(len(self._waiting), self._most)
                self._run([self._waiting.popleft() for _ in range(count)])
        return call.future.result()

    def _run(self, group: Sequence[_Call[Asked, Answer]]) -> None:
        try:
            answers = self._work([call.asked for call in group])
        except Exception as error:  # whoever waits for a future must hear of any error
            if len(group) > 1 and not self._is_of_all(error):
                for call in group:
                    self._run([call])
            else:
                for call in group:
                    call.future.set_exception(error)
            return
        for call, answer in zip(group, answers, strict=True):
            call.future.set_result(answer)
