"""Which requests make the next batch: stat before urgent before routine, and none starves."""

import uuid
from itertools import pairwise

import numpy as np
import pytest

from services.worker.lanes import Lanes, Request
from shared.jobs.claim import Claim
from shared.jobs.states import Priority
from shared.models.prediction import Prediction
from shared.queue.fairness import FAIR_SHARE

STAT, URGENT, ROUTINE = Priority
ONE, OTHER = object(), object()


def request(priority: Priority, count: int = 1, model: object = ONE) -> Request:
    claim = Claim(uuid.uuid4(), "w", 1, False, "m", 1, (), priority)
    return Request(claim, model, np.zeros((count, 1, 1, 3), np.uint8), None, most=4)


def lanes_of(*requests: Request) -> Lanes:
    lanes = Lanes(batch_size=4)
    for one in requests:
        lanes.add(one)
    return lanes


def answer(one: Request) -> bool:
    rows = np.zeros((len(one.piece), 4))
    return one.answer(Prediction(rows.astype(np.float32), rows))


def taken(lanes: Lanes) -> list[list[Request]]:
    batches = []
    while lanes:
        batches.append(lanes.take_batch())
    return batches


def test_the_most_urgent_come_first_and_the_oldest_among_them() -> None:
    routine, urgent = request(ROUTINE, 4), request(URGENT, 4)
    stat, later = request(STAT, 4), request(STAT, 4)
    lanes = lanes_of(routine, urgent, stat, later)
    assert taken(lanes) == [[stat], [later], [urgent], [routine]]


def test_a_batch_has_what_fits_of_one_priority_and_one_model() -> None:
    leading, large, fitting = request(URGENT), request(URGENT, 4), request(URGENT, 2)
    other_model, other_lane = request(URGENT, model=OTHER), request(ROUTINE)
    lanes = lanes_of(leading, large, other_model, fitting, other_lane)
    assert taken(lanes) == [[leading, fitting], [large], [other_model], [other_lane]]


def test_a_large_request_keeps_its_place_between_its_pieces() -> None:
    large, later = request(ROUTINE, 7), request(ROUTINE, 3)
    lanes = lanes_of(large, later)
    assert lanes.take_batch() == [large]
    assert not answer(large)
    stat = request(STAT)
    lanes.add(stat)
    lanes.put_back(large)
    assert lanes.take_batch() == [stat]
    assert lanes.take_batch() == [large]
    assert answer(large)
    assert len(large.future.result(0).raw) == 7
    assert lanes.take_batch() == [later]


def test_the_last_piece_of_a_large_request_shares_its_batch() -> None:
    large, later = request(ROUTINE, 5), request(ROUTINE, 3)
    lanes = lanes_of(large, later)
    assert lanes.take_batch() == [large]
    assert not answer(large)
    lanes.put_back(large)
    assert lanes.take_batch() == [large, later]


@pytest.mark.parametrize("behind", [URGENT, ROUTINE])
def test_no_lane_starves_however_much_comes_before_it(behind: Priority) -> None:
    lanes = lanes_of(*(request(priority, 4) for priority in Priority for _ in range(300)))
    led = [lanes.take_batch()[0].claim.priority for _ in range(300)]
    places = [place for place, priority in enumerate(led) if priority is behind]
    bound = FAIR_SHARE + 1
    assert places[0] < bound
    assert max(b - a for a, b in pairwise(places)) <= bound
    assert led.count(STAT) >= 300 / 2


@pytest.mark.parametrize("batches", range(1, 2 * FAIR_SHARE))
def test_a_stat_request_is_next_after_any_number_of_routine_batches(batches: int) -> None:
    lanes = lanes_of(*(request(ROUTINE, 4) for _ in range(50)))
    for _ in range(batches):
        lanes.take_batch()
    stat = request(STAT)
    lanes.add(stat)
    assert lanes.take_batch() == [stat]


def test_what_waits_is_taken_out_at_once() -> None:
    waiting = [request(ROUTINE), request(STAT)]
    lanes = lanes_of(*waiting)
    assert set(lanes.take_all()) == set(waiting)
    assert not lanes
