"""The queues of jobs, what ended badly, and how long results take."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric

from shared.db.session import Sessions
from shared.jobs.figures import NEWEST, turnarounds, unsuccessful
from shared.jobs.overview import depths, redeliveries, unsent_messages


def families(sessions: Sessions) -> Iterator[Metric]:
    """Gauges by priority, and by the reason of what went wrong."""
    yield from _queues(sessions)
    yield from _outbox(sessions)
    yield _unsuccessful(sessions)
    yield _redelivered(sessions)
    yield _turnaround(sessions)


def _queues(sessions: Sessions) -> Iterator[Metric]:
    queued = GaugeMetricFamily(
        "hemotriage_jobs_queued", "Jobs that wait for a worker.", labels=["priority"]
    )
    running = GaugeMetricFamily(
        "hemotriage_jobs_running", "Jobs in a worker's hands.", labels=["priority"]
    )
    oldest = GaugeMetricFamily(
        "hemotriage_jobs_oldest_queued_seconds",
        "Seconds since the submission of the job that waits longest; 0 where none waits.",
        labels=["priority"],
    )
    for depth in depths(sessions):
        queued.add_metric([depth.priority], depth.queued)
        running.add_metric([depth.priority], depth.running)
        oldest.add_metric([depth.priority], depth.oldest_seconds)
    yield from (queued, running, oldest)


def _outbox(sessions: Sessions) -> Iterator[Metric]:
    unsent = unsent_messages(sessions)
    yield GaugeMetricFamily(
        "hemotriage_outbox_due", "Messages that are due to the broker.", value=unsent.count
    )
    yield GaugeMetricFamily(
        "hemotriage_outbox_oldest_seconds",
        "Seconds for which the oldest of them has been due; 0 where none is.",
        value=unsent.oldest_seconds,
    )


def _unsuccessful(sessions: Sessions) -> Metric:
    gauge = GaugeMetricFamily(
        "hemotriage_jobs_unsuccessful",
        "Jobs that failed in the last 24 hours, and all that are dead; none that was queued again.",
        labels=["status", "code"],
    )
    for found in unsuccessful(sessions):
        gauge.add_metric([found.status, found.code], found.count)
    return gauge


def _redelivered(sessions: Sessions) -> Metric:
    gauge = GaugeMetricFamily(
        "hemotriage_jobs_redelivered",
        "How often jobs went back to their queue in the last hour, by the reason.",
        labels=["code"],
    )
    for code, times in redeliveries(sessions).items():
        gauge.add_metric([code], times)
    return gauge


def _turnaround(sessions: Sessions) -> Metric:
    gauge = GaugeMetricFamily(
        "hemotriage_turnaround_seconds",
        "Percentile of the seconds from submission to result, of the newest "
        f"{NEWEST} results of the last 24 hours.",
        labels=["priority", "percentile"],
    )
    for found in turnarounds(sessions):
        gauge.add_metric([found.priority, f"{found.quantile * 100:g}"], found.seconds)
    return gauge
