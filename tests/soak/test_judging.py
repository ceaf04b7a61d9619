"""What judges a soak can fail: it finds a leak, a slower service and an error, and only these."""

from __future__ import annotations

import datetime as dt
import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.verdict import Verdict
from tests.soak.events import SERVERS
from tests.soak.growth import LIMIT, Growth, Piece, growth
from tests.soak.judging import (
    Outcome,
    judge_answers,
    judge_coverage,
    judge_lines,
    judge_memory,
    judge_verdict,
)
from tests.soak.latency import Latency, latencies
from tests.soak.load import KINDS, PRIORITIES, RECIPES, Sent, Trouble, arrivals
from tests.soak.logs import Line, Window, lines_of, unexplained
from tests.soak.plan import plan
from tests.soak.report import report
from tests.soak.samples import FILL_SECONDS, FILL_SECONDS_OF, Held, Sample, pieces_of

HOUR = 3600.0
MEBIBYTE = 2.0**20


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


def an_outcome(**values: object) -> Outcome:
    return Outcome(60, 10.0, 5.0, Verdict(accepted=3, finished=3), **values)


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


def test_a_lost_and_a_doubled_job_fail_the_soak() -> None:
    for verdict in (Verdict(lost=1), Verdict(doubled=1), Verdict(complaints=["another result"])):
        outcome = Outcome(60, 10.0, 5.0, verdict)
        judge_verdict(outcome)
        assert not outcome.is_good


WINDOW = Window("api-restarted", 100.0, 120.0, lines=("api: .*closed",), answers=("^503$",))


@pytest.mark.parametrize(
    ("at", "what", "is_good"),
    [(110.0, "503", True), (130.0, "503", False), (110.0, "500", False)],
)
def test_an_answer_is_explained_by_what_and_when(at: float, what: str, is_good: bool) -> None:
    outcome = an_outcome(windows=[WINDOW])
    judge_answers(outcome, [Trouble(at, what)])
    assert outcome.is_good is is_good


@pytest.mark.parametrize(
    ("line", "is_explained"),
    [
        (Line("api", 110.0, "ERROR", "connection closed"), True),
        (Line("api", 130.0, "ERROR", "connection closed"), False),
        (Line("worker", 110.0, "ERROR", "connection closed"), False),
        (Line("api", 110.0, "ERROR", "something else"), False),
    ],
)
def test_a_line_is_explained_by_process_text_and_time(line: Line, is_explained: bool) -> None:
    assert (unexplained([line], [WINDOW]) == []) is is_explained
    outcome = an_outcome(windows=[WINDOW])
    judge_lines(outcome, [line])
    assert outcome.is_good is is_explained


@pytest.mark.parametrize(
    ("text", "is_explained"),
    [
        (
            "upload_chunked.go:281 chunked upload failed: assign volume: all filers failed, last "
            "error: assign volume: rpc error: code = Unavailable desc = connection error: desc = "
            '"transport: Error while dialing: dial unix /tmp/filer.sock: connect: no such file"',
            True,
        ),
        (
            "s3api_object_handlers_put.go:626 putToFiler: chunked upload failed: assign volume: "
            "all filers failed, last error: assign volume: rpc error: code = Unavailable desc = "
            'closing transport due to: connection error: desc = "error reading from server: EOF"',
            True,
        ),
        (
            "filechunk_manifest.go:59 operation LookupFileId 3,1 failed: volume 3 not found",
            True,
        ),
        ("volume_loading.go:100 volume 3: data corruption, checksum mismatch", False),
    ],
)
def test_a_restart_explains_what_the_store_says_of_its_own_parts(
    text: str, is_explained: bool
) -> None:
    event = next(event for event in SERVERS if event.name == "seaweedfs-restarted")
    window = Window(event.name, 100.0, 120.0, event.lines, event.answers)
    line = Line("seaweedfs", 110.0, "ERROR", f"E1128 04:42:56.584727 {text}")
    assert (unexplained([line], [window]) == []) is is_explained


def test_logs_give_warnings_errors_and_tracebacks_with_their_times(tmp_path: Path) -> None:
    at = "2026-01-02 03:04:05,678"
    (tmp_path / "worker.log").write_text(
        json.dumps({"at": at, "level": "INFO", "message": "fine"})
        + "\n"
        + json.dumps({"at": at, "level": "ERROR", "message": "broken", "service": "worker"})
        + "\nTraceback (most recent call last):\n"
    )
    (tmp_path / "postgres.log").write_text("2026-01-02 03:04:05.678 UTC [1] ERROR:  deadlock\n")
    found = lines_of(tmp_path)
    assert [(one.process, one.level) for one in found] == [
        ("postgres", "ERROR"),
        ("worker", "ERROR"),
        ("worker", "ERROR"),
    ]
    assert len({one.at for one in found}) == 1
    assert "broken" in found[1].text


def test_lines_of_the_object_store_have_their_times(tmp_path: Path) -> None:
    now = dt.datetime.now().astimezone().replace(microsecond=0)
    moments = [now, now + dt.timedelta(days=10)]
    lines = [f"E{one:%m%d %H:%M:%S}.000000 manifest.go:363 volume 3 not found" for one in moments]
    (tmp_path / "seaweedfs.log").write_text("\n".join(lines))
    this, before = [one.at for one in lines_of(tmp_path)]
    assert this == now.timestamp()
    days_ago = (this - before) / 86400
    assert 350 < days_ago < 360, "no line is of a time to come"


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


@pytest.mark.parametrize(("begin", "is_explained"), [(100.9239, True), (100.9251, False)])
def test_a_line_that_comes_at_once_is_not_before_its_event(
    begin: float, is_explained: bool
) -> None:
    """PostgreSQL cuts a time off after its milliseconds."""
    window = Window("postgres-restarted", begin, begin + 20, ("^postgres: .*terminating",), ())
    line = Line("postgres", 100.923, "ERROR", "FATAL:  terminating connection")
    assert (unexplained([line], [window]) == []) is is_explained
