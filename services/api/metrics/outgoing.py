"""What is due of webhooks and pushes."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric

from shared.db.session import Sessions
from shared.webhooks.admin import backlogs


def families(sessions: Sessions) -> Iterator[Metric]:
    """Gauges by kind, webhook or push, 0 where nothing is due."""
    due = GaugeMetricFamily(
        "hemotriage_deliveries_due", "Events that are yet to be delivered.", labels=["kind"]
    )
    failing = GaugeMetricFamily(
        "hemotriage_deliveries_failing",
        "Those of them that had an attempt already.",
        labels=["kind"],
    )
    oldest = GaugeMetricFamily(
        "hemotriage_deliveries_oldest_seconds",
        "Seconds since the oldest of them happened; 0 where none is due.",
        labels=["kind"],
    )
    for found in backlogs(sessions):
        kind = ["push" if found.is_push else "webhook"]
        due.add_metric(kind, found.due)
        failing.add_metric(kind, found.failing)
        oldest.add_metric(kind, found.oldest_seconds)
    yield from (due, failing, oldest)
