"""What many threads ask is asked once; one's fault is no other's, and an outage is everybody's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from services.worker.grouping import Grouped
from tests.waiting import eventually

THREADS = 10


class Work:
    """Answers with a tenfold; waits at the gate, cannot bear a 13, and may have an outage."""

    def __init__(self) -> None:
        self.groups: list[int] = []
        self.gate = threading.Event()
        self.away = False

    def __call__(self, asked: Sequence[int]) -> list[int]:
        self.groups.append(len(asked))
        self.gate.wait(10)
        if self.away:
            raise ConnectionError
        if 13 in asked:
            raise ValueError("13")
        return [10 * number for number in asked]


@pytest.fixture
def work() -> Work:
    return Work()


def grouped(work: Work, **options: int) -> Grouped[int, int]:
    return Grouped(work, is_of_all=lambda error: isinstance(error, ConnectionError), **options)


def ask_together(work: Work, ask: Callable[[int], int], numbers: Sequence[int]) -> list[object]:
    """Ask 0, and while that is at work all the numbers; answers, or errors."""

    def caught(number: int) -> object:
        try:
            return ask(number)
        except (ValueError, ConnectionError) as error:
            return error

    with ThreadPoolExecutor(len(numbers) + 1) as pool:
        first = pool.submit(caught, 0)
        eventually(lambda: work.groups, 10)
        others = [pool.submit(caught, number) for number in numbers]
        waiting = ask._waiting  # type: ignore[attr-defined]
        eventually(lambda: len(waiting) == len(numbers), 10)
        work.gate.set()
        return [first.result(), *(other.result() for other in others)]


def test_one_alone_is_a_group_of_one(work: Work) -> None:
    work.gate.set()
    ask = grouped(work)
    assert [ask(1), ask(2)] == [10, 20]
    assert work.groups == [1, 1]


def test_what_is_asked_meanwhile_is_the_next_group(work: Work) -> None:
    numbers = list(range(1, THREADS + 1))
    answers = ask_together(work, grouped(work), numbers)
    assert answers == [0, *(10 * number for number in numbers)]
    assert work.groups == [1, THREADS]


def test_a_group_has_a_largest_size(work: Work) -> None:
    answers = ask_together(work, grouped(work, most=4), list(range(1, THREADS + 1)))
    assert sorted(answers) == [10 * number for number in range(THREADS + 1)]
    assert work.groups == [1, 4, 4, 2]


def test_the_fault_of_one_fails_no_other(work: Work) -> None:
    answers = ask_together(work, grouped(work), [11, 12, 13, 14])
    assert [answer for answer in answers if not isinstance(answer, ValueError)] == [
        0,
        110,
        120,
        140,
    ]
    assert work.groups == [1, 4, 1, 1, 1, 1]


def test_an_outage_is_told_to_all_and_not_asked_for_each(work: Work) -> None:
    work.away = True
    answers = ask_together(work, grouped(work), [1, 2, 3])
    assert all(isinstance(answer, ConnectionError) for answer in answers)
    assert work.groups == [1, 3]
