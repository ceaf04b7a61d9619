"""What judges a soak can fail, and what it does not know is not good."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.faults.verdict import Verdict
from tests.soak.growth import Growth
from tests.soak.judging import (
    Outcome,
    judge_coverage,
    judge_verdict,
)
from tests.soak.latency import Latency, latencies
from tests.soak.load import KINDS, PRIORITIES, RECIPES, Sent, arrivals
from tests.soak.outcomes import HOUR, MEBIBYTE, WINDOW, an_outcome
from tests.soak.plan import plan
from tests.soak.report import report


def test_a_lost_and_a_doubled_job_fail_the_soak() -> None:
    for verdict in (Verdict(lost=1), Verdict(doubled=1), Verdict(complaints=["another result"])):
        outcome = Outcome(60, 10.0, 5.0, verdict)
        judge_verdict(outcome)
        assert not outcome.is_good


def test_what_a_long_run_has_not_seen_is_not_good() -> None:
    seen = Growth(median=100.0, slope=0.0, duration=3300.0, covered=600.0)
    told = Latency("stat", 100, 0.1, 0.2, 0.2, 0.2)
    unseen = [
        ({"worker": None}, []),
        ({"worker": replace(seen, covered=200.0)}, []),
        ({}, [replace(told, last=None)]),
        ({}, [replace(told, first=None)]),
    ]
    for growths, told_of in unseen:
        for minutes, is_good in ((60.0, False), (3.0, True)):
            outcome = an_outcome(growths=growths, latencies=told_of)
            outcome.minutes = minutes
            judge_coverage(outcome)
            assert outcome.is_good is is_good
    good = an_outcome(growths={"worker": seen, "trainer, children": None}, latencies=[told])
    judge_coverage(good)
    assert good.is_good


def sent(priority: str, first: float, last: float, count: int = 200) -> tuple[list[Sent], dict]:
    """Jobs over 400 s that take `first` seconds at the beginning and `last` at the end."""
    jobs = [Sent(f"{priority}{n}", priority, 0.0, 0.0, 400.0 * n / count) for n in range(count)]
    took = {job.job_id: first + (last - first) * job.wall / 400 for job in jobs}
    return jobs, took


def test_a_slower_last_quarter_is_a_complaint_and_a_kept_one_is_none() -> None:
    for last, is_kept in ((0.1, True), (0.9, False)):
        jobs, took = sent("routine", 0.1, last)
        found = latencies(jobs, took, [], begin=0, end=400)
        (complaint,) = [one.complaint for one in found if one.priority == "routine"]
        assert (complaint is None) is is_kept


def test_a_stat_job_that_waits_is_a_complaint() -> None:
    jobs, took = sent("stat", 1.5, 1.5)
    assert next(one.complaint for one in latencies(jobs, took, [], begin=0, end=400))


def test_jobs_that_an_event_disturbs_do_not_count() -> None:
    jobs, took = sent("stat", 0.1, 0.1)
    late = {job.job_id: 9.0 for job in jobs if 100 <= job.wall <= 120}
    found = latencies(jobs, {**took, **late}, [WINDOW], begin=0, end=400)[0]
    assert found.complaint is None
    assert 0 < found.jobs < len(jobs)


def test_too_few_jobs_tell_nothing() -> None:
    jobs, took = sent("stat", 5.0, 5.0, count=8)
    assert latencies(jobs, took, [], begin=0, end=400)[0].p95 is None


def test_the_load_is_the_same_each_time_and_comes_at_its_rate() -> None:
    def first(count: int) -> list:
        source = arrivals(10.0, 1, 0.0)
        return [next(source) for _ in range(count)]

    drawn = first(2000)
    assert drawn == first(2000)
    assert drawn[-1].due == pytest.approx(200, rel=0.1)
    for name, shares in (("priority", PRIORITIES), ("kind", KINDS), ("recipe", RECIPES)):
        assert sum(shares.values()) == 100
        assert {getattr(one, name) for one in drawn} == set(shares)


@pytest.mark.parametrize("minutes", [3, 60])
def test_events_come_after_the_warm_up_and_leave_the_end_to_the_load(minutes: float) -> None:
    chosen = plan(minutes)
    times = [at for at, _ in chosen.events]
    assert times == sorted(times)
    assert chosen.warm_up < times[0]
    assert times[-1] < 0.75 * chosen.seconds
    names = [event.name for _, event in chosen.events]
    assert len(names) == len(set(names))


def test_the_page_tells_each_complaint() -> None:
    good = an_outcome(growths={"worker": Growth(300 * MEBIBYTE, 1.0, HOUR, HOUR), "new": None})
    assert ": good" in report(good)
    bad = an_outcome(complaints=["worker grows by 9.0 %"])
    assert ": FAILED" in report(bad)
    assert "- worker grows by 9.0 %" in report(bad)
    assert json.dumps(good.as_dict())
