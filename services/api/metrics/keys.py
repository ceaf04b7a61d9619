"""Keys whose time is over soon."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric

from shared.auth.ending import SOON, ending_keys
from shared.db.session import Sessions


def families(sessions: Sessions) -> Iterator[Metric]:
    """How many, and when; which ones is not shown to who has no key."""
    found = ending_keys(sessions)
    yield GaugeMetricFamily(
        "hemotriage_api_keys_ending",
        f"API keys without a successor that end within {SOON.days} days.",
        value=found.soon,
    )
    if found.first_seconds is not None:
        yield GaugeMetricFamily(
            "hemotriage_api_key_first_end_seconds",
            "Seconds until the first of all such keys ends; absent where none has an end.",
            value=found.first_seconds,
        )
