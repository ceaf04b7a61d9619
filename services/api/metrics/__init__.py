"""What `/metrics` shows, by subject: a module each, with a function that makes metric families.

What the database knows is read from it at the scrape, so that it does not matter which process
answers. What the processes of the API measure of their requests, they share.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from services.api.context import Context
from services.api.metrics import (
    audit,
    drift,
    explanations,
    jobs,
    keys,
    learning,
    orders,
    outgoing,
    readiness,
    retention,
    reviews,
)
from services.api.readiness import checks
from services.api.request_metrics import RequestMetrics
from shared.db.session import Sessions
from shared.outage import is_outage

_log = logging.getLogger(__name__)

SOURCES: tuple[Callable[[Sessions], Iterator[Metric]], ...] = (
    jobs.families,
    outgoing.families,
    orders.families,
    learning.families,
    keys.families,
    audit.families,
    retention.families,
    drift.families,
    reviews.families,
    explanations.families,
)


def exposition(ctx: Context, requests: RequestMetrics) -> bytes:
    """All metrics in Prometheus' text format.

    While the database is away, what is read from it is missing and `hemotriage_ready` says why:
    what the API measures itself is wanted then more than ever.
    """
    found = checks(ctx)
    parts = [requests.exposition(), _shown(_Readiness(found))]
    if found["database"] == "ok":
        try:
            parts.append(_shown(_Database(ctx.sessions)))
        except SQLAlchemyError as error:
            if not is_outage(error):
                raise
            _log.warning("metrics without the database", extra={"error": type(error).__name__})
    return b"".join(parts)


def _shown(collector: Collector) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    return generate_latest(registry)


@dataclass(frozen=True, eq=False)
class _Readiness(Collector):
    checks: Mapping[str, str]

    def collect(self) -> Iterator[Metric]:
        yield readiness.family(self.checks)


@dataclass(frozen=True, eq=False)
class _Database(Collector):
    sessions: Sessions

    def collect(self) -> Iterator[Metric]:
        for families in SOURCES:
            yield from families(self.sessions)
