"""What the processes of the API measure of the requests that they answer.

Each process counts in a file that it maps into memory, and whichever answers a scrape adds all of
them up: Prometheus reaches one process by chance.
"""

from __future__ import annotations

import time
from pathlib import Path

from apiflask import APIFlask
from flask import Response, current_app, g, request
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

EXTENSION = "hemotriage-request-metrics"

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_OTHER = "other"
# Of addresses that no route has.
_UNMATCHED = "unmatched"
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class RequestMetrics:
    """The metrics of one process, and how to read those of all."""

    def __init__(self, shared: Path | None) -> None:
        """Make the metrics.

        Args:
            shared: The folder that all processes count in; None where there is one process only.
        """
        self._shared = shared
        self._registry = CollectorRegistry()
        self.seconds = Histogram(
            "hemotriage_api_request_seconds",
            "Time until the answer began, waits that were asked for included.",
            ["route", "method", "status"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self.running = Gauge(
            "hemotriage_api_requests_running",
            "Requests that are being answered.",
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self.received = Counter(
            "hemotriage_api_received_bytes",
            "Bodies of requests, in bytes, as their senders announced them.",
            ["route"],
            registry=self._registry,
        )

    def exposition(self) -> bytes:
        """The metrics of all processes in Prometheus' text format."""
        if self._shared is None:
            return generate_latest(self._registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(self._shared))  # type: ignore[no-untyped-call]
        return generate_latest(registry)


def init_app(app: APIFlask, shared: Path | None) -> None:
    """Have every request measured, whatever comes of it."""
    app.extensions[EXTENSION] = RequestMetrics(shared)
    app.before_request(_begin)
    app.after_request(_measure)
    app.teardown_request(_end)


def request_metrics() -> RequestMetrics:
    """The metrics of the running request's application."""
    metrics: RequestMetrics = current_app.extensions[EXTENSION]
    return metrics


def named_method() -> str:
    """The request's method; a client may name any, and each would be a series of its own."""
    return request.method if request.method in _METHODS else _OTHER


def _begin() -> None:
    g.measured_from = time.perf_counter()
    request_metrics().running.inc()


def _measure(response: Response) -> Response:
    """By the route's rule and not its address, which may name a patient's accession."""
    metrics = request_metrics()
    route = request.url_rule.rule if request.url_rule else _UNMATCHED
    status = f"{response.status_code // 100}xx"
    seconds = time.perf_counter() - g.measured_from
    metrics.seconds.labels(route, named_method(), status).observe(seconds)
    if request.content_length:
        metrics.received.labels(route).inc(request.content_length)
    return response


def _end(_: BaseException | None) -> None:
    if "measured_from" in g:
        request_metrics().running.dec()
