"""A leak is found, and noise, a start or a restart is none."""

from __future__ import annotations

import random

import pytest

from tests.soak.growth import LIMIT, Piece, growth
from tests.soak.judging import judge_memory
from tests.soak.outcomes import HOUR, MEBIBYTE, an_outcome
from tests.soak.plan import plan
from tests.soak.samples import FILL_SECONDS, FILL_SECONDS_OF, Held, Sample, pieces_of


def memory(
    *, hourly: float = 0.0, noise: float = 1.0, start: float = 0.0, seconds: float = HOUR
) -> Piece:
    """Samples every 5 s of a process of 300 MiB, in MiB an hour and MiB of noise."""
    dice = random.Random(1)
    return [
        (start + at, MEBIBYTE * (300 + hourly * at / HOUR + dice.gauss(0, noise)))
        for at in range(0, int(seconds), 5)
    ]


def share_of(*pieces: Piece, settle: float = 60) -> float:
    found = growth(pieces, duration=HOUR, settle=settle)
    assert found is not None
    return found.share


def test_a_flat_and_noisy_process_is_flat() -> None:
    assert abs(share_of(memory(noise=6.0))) < LIMIT / 5


@pytest.mark.parametrize("hourly", [20.0, 60.0, 600.0])
def test_a_leak_of_more_than_the_limit_is_found_in_noise(hourly: float) -> None:
    assert share_of(memory(hourly=hourly, noise=3.0)) > LIMIT


def test_a_leak_is_measured_to_a_tenth() -> None:
    assert share_of(memory(hourly=30)) == pytest.approx(30 / 315, rel=0.1)


def test_a_leak_is_found_though_restarts_take_it_back_again_and_again() -> None:
    pieces = [memory(hourly=60, start=900.0 * n, seconds=900) for n in range(4)]
    assert share_of(*pieces) > 2 * LIMIT


def test_restarts_of_a_flat_process_are_no_leak_though_each_begins_small() -> None:
    pieces = [
        [(at, value * (0.5 if at < start + 60 else 1)) for at, value in memory(start=start)]
        for start in (0.0, HOUR)
    ]
    assert abs(share_of(*pieces, settle=90)) < LIMIT / 5


def test_a_quarter_of_spikes_is_no_leak() -> None:
    dice = random.Random(2)
    spiked = [(at, value * (2 if dice.random() < 0.25 else 1)) for at, value in memory()]
    assert abs(share_of(spiked)) < LIMIT


def test_memory_that_is_given_back_is_no_fault() -> None:
    found = growth([memory(hourly=-60)], duration=HOUR, settle=60)
    assert found is not None
    assert found.is_flat


def test_the_first_minutes_of_a_process_are_shown_and_not_judged() -> None:
    found = growth([memory(hourly=3000, seconds=200)], duration=HOUR, settle=10)
    assert found is not None
    assert (found.share > LIMIT, found.is_judged, found.is_flat) == (True, False, True)


def test_a_piece_that_is_too_short_tells_nothing() -> None:
    assert growth([memory(seconds=30)], duration=HOUR, settle=0) is None
    assert growth([memory(seconds=90)], duration=HOUR, settle=60) is None


def sampled(hourly: float) -> list[Sample]:
    return [
        Sample(at, [Held("worker", 1, 0.0, int(value), 0, 0, 1, 1)])
        for at, value in memory(hourly=hourly)
    ]


def test_a_leaking_worker_fails_the_soak_and_a_flat_one_does_not() -> None:
    for hourly, is_good in ((40.0, False), (0.0, True)):
        outcome = an_outcome()
        judge_memory(outcome, sampled(hourly), {}, plan(60), begin=0.0)
        assert outcome.is_good is is_good, outcome.complaints


def test_a_series_is_cut_at_another_process_and_where_something_is_loaded() -> None:
    samples = [
        Sample(float(at), [Held("worker", pid, -FILL_SECONDS, at, 0, 0, 1, 1)])
        for at, pid in ((1, 7), (2, 7), (3, 7), (4, 8))
    ]
    cut = pieces_of(samples, {"worker": [2.5], "other": [1.5]})
    assert cut == {"worker": [[(1.0, 1.0), (2.0, 2.0)], [(3.0, 3.0)], [(4.0, 4.0)]]}


def test_what_a_process_fills_after_its_start_is_not_judged_and_a_leak_after_that_is() -> None:
    for hourly, is_good in ((40.0, False), (0.0, True)):
        samples = [
            Sample(at, [Held("api", 1, 0.0, int(value * min(1.0, 0.5 + at / 1_200)), 0, 0, 1, 1)])
            for at, value in memory(hourly=hourly)
        ]
        outcome = an_outcome()
        judge_memory(outcome, samples, {}, plan(60), begin=0.0)
        assert outcome.is_good is is_good, outcome.complaints


@pytest.mark.parametrize(("hourly", "is_good"), [(60.0, False), (0.0, True)])
def test_postgresql_fills_anew_with_each_client_and_a_leak_after_that_is_found(
    hourly: float, is_good: bool
) -> None:
    restarts = [600.0, 1_500.0]

    def held(at: float) -> int:
        last = max([0.0, *(restart for restart in restarts if restart <= at)])
        return int(
            MEBIBYTE * (110 + 20 * min(1.0, (at - last) / FILL_SECONDS) + hourly * at / HOUR)
        )

    samples = [
        Sample(at, [Held("postgres", 1, -FILL_SECONDS, held(at), 0, 0, 1, 1)])
        for at in (5.0 * n for n in range(720))
    ]
    outcome = an_outcome()
    judge_memory(outcome, samples, {"postgres": restarts}, plan(60), begin=300.0)
    assert outcome.is_good is is_good, outcome.complaints
    found = outcome.growths["postgres"]
    assert found is not None
    assert found.is_judged


@pytest.mark.parametrize(("hourly", "is_good"), [(400.0, False), (0.0, True)])
def test_a_store_is_judged_from_when_its_buffers_are_full_on(hourly: float, is_good: bool) -> None:
    """It is restarted early, fills 256 MiB in half an hour, and may then leak or not."""
    born = 400.0

    def held(at: float) -> int:
        fills = 8 * min(32.0, (at - born) / 60)
        return int(MEBIBYTE * (250 + fills + hourly * at / HOUR))

    samples = [
        Sample(at, [Held("seaweedfs", 1, born, held(at), 0, 0, 1, 1)])
        for at in (405.0 + 5 * n for n in range(639))
    ]
    outcome = an_outcome()
    judge_memory(outcome, samples, {"": [born]}, plan(60), begin=300.0)
    assert outcome.is_good is is_good, outcome.complaints
    found = outcome.growths["seaweedfs"]
    assert found is not None
    assert found.is_judged
    (piece,) = outcome.memory["seaweedfs"]
    assert piece[0][0] >= born - 300 + FILL_SECONDS_OF["seaweedfs"]
