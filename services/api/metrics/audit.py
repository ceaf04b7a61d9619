"""What of the audit trail waits to be sealed and attested."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric

from shared.audit.backlog import MOST_COUNTED, audit_backlog
from shared.db.session import Sessions


def families(sessions: Sessions) -> Iterator[Metric]:
    """Gauges without labels, 0 where nothing waits."""
    found = audit_backlog(sessions)
    yield GaugeMetricFamily(
        "hemotriage_audit_unsealed",
        f"Newest events of the audit trail without a place in its chain, {MOST_COUNTED} at most.",
        value=found.unsealed,
    )
    yield GaugeMetricFamily(
        "hemotriage_audit_unsealed_oldest_seconds",
        "Seconds since the oldest of them was written.",
        value=found.unsealed_seconds,
    )
    yield GaugeMetricFamily(
        "hemotriage_audit_unattested_seconds",
        "Seconds since the oldest event that no checkpoint covers was written.",
        value=found.unattested_seconds,
    )
