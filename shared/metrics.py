"""Shows a process' own metrics to Prometheus, for processes that answer no other request."""

from __future__ import annotations

import logging

from prometheus_client import start_http_server

from shared.settings import Settings

_log = logging.getLogger(__name__)


def serve_metrics(settings: Settings) -> None:
    """Answer at `/metrics` with the metrics of this process, in a thread; returns at once.

    Without `settings.metrics_port` nothing listens. A port that cannot be had is logged and no
    more: whoever watches misses a target, and no job waits for that.
    """
    if not settings.metrics_port:
        return
    try:
        start_http_server(settings.metrics_port, addr=settings.metrics_host)
    except OSError as error:
        extra = {"port": settings.metrics_port, "error": type(error).__name__}
        _log.error("metrics are not shown", extra=extra)
