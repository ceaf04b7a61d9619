"""What `/metrics` shows, by subject: a module each, with a function that makes metric families.

All is read at the scrape from the database, so that it does not matter which process answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from services.api.metrics import drift, explanations, reviews
from shared.db.session import Sessions

SOURCES: tuple[Callable[[Sessions], Iterator[Metric]], ...] = (
    drift.families,
    reviews.families,
    explanations.families,
)


def exposition(sessions: Sessions) -> bytes:
    """All metrics in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Everything(sessions))
    return generate_latest(registry)


@dataclass(frozen=True)
class _Everything(Collector):
    sessions: Sessions

    def collect(self) -> Iterator[Metric]:
        for families in SOURCES:
            yield from families(self.sessions)
