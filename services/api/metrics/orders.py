"""Orders of the last day."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric

from shared.db.session import Sessions
from shared.orders.queries import recent_orders


def families(sessions: Sessions) -> Iterator[Metric]:
    """A gauge by state and priority."""
    gauge = GaugeMetricFamily(
        "hemotriage_orders",
        "Orders placed in the last 24 hours, by where they stand.",
        labels=["state", "priority"],
    )
    for (state, priority), count in recent_orders(sessions).items():
        gauge.add_metric([state, priority], count)
    yield gauge
