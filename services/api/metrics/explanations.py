"""How many explanations are open, and for how long."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric

from shared.db.session import Sessions
from shared.explanations.backlog import backlogs

_LABELS = ("method", "status")


def families(sessions: Sessions) -> Iterator[Metric]:
    """Gauges by method and open status, 0 where there is none."""
    waiting = GaugeMetricFamily(
        "hemotriage_explanations_open", "Explanations that have not ended.", labels=_LABELS
    )
    oldest = GaugeMetricFamily(
        "hemotriage_explanations_oldest_seconds",
        "Seconds since the oldest of them was requested.",
        labels=_LABELS,
    )
    for found in backlogs(sessions):
        labels = [found.method, found.status]
        waiting.add_metric(labels, found.count)
        oldest.add_metric(labels, found.oldest_seconds)
    yield from (waiting, oldest)
