"""What waits for the retention process."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric

from shared.db.session import Sessions
from shared.retention.backlog import retention_backlog


def families(sessions: Sessions) -> Iterator[Metric]:
    """Gauges without labels, 0 where nothing waits."""
    found = retention_backlog(sessions)
    yield GaugeMetricFamily(
        "hemotriage_erasures_oldest_seconds",
        "Seconds since the oldest erasure that is not done was asked for.",
        value=found.erasure_seconds,
    )
    yield GaugeMetricFamily(
        "hemotriage_object_removals_oldest_seconds",
        "Seconds for which the oldest object that is to be removed has been due.",
        value=found.removal_seconds,
    )
