"""Whether the servers behind the API answer."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client.core import GaugeMetricFamily, Metric

from services.api.readiness import is_ready


def family(checks: Mapping[str, str]) -> Metric:
    """A gauge by name, as `/readyz` has them."""
    gauge = GaugeMetricFamily(
        "hemotriage_ready",
        "1 where a server that the API depends on answers, else 0; as at /readyz.",
        labels=["check"],
    )
    for name, state in checks.items():
        gauge.add_metric([name], is_ready(state))
    return gauge
