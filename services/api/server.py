"""gunicorn with gevent: a request that waits for a server or for a job's end holds no thread."""

from __future__ import annotations

import gc
import logging
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Any

import gevent.hub
from gevent.monkey import is_module_patched
from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger as GunicornLogger
from prometheus_client.multiprocess import mark_process_dead

from services.api.app import create_app
from services.api.connections import Worker
from services.api.patching import lock_logs_natively
from shared.errors import HemotriageError
from shared.logging import configure_logging
from shared.memory import share_one_heap
from shared.scheduling import let_others_finish
from shared.settings import Settings
from shared.telemetry.tracing import configure_tracing

GRACE_SECONDS = 30

_log = logging.getLogger(__name__)


class Logger(GunicornLogger):  # type: ignore[misc]
    """Has gunicorn log as everything else does; its own format is for people."""

    def setup(self, cfg: Any) -> None:
        """See gunicorn's."""
        super().setup(cfg)
        for log in (self.error_log, self.access_log):
            log.handlers.clear()
            log.propagate = True


class _Server(BaseApplication):  # type: ignore[misc]
    """gunicorn with its options from our settings instead of its own files and flags."""

    def __init__(self, settings: Settings, shared_metrics: Path) -> None:
        self._settings = settings
        self._shared_metrics = shared_metrics
        super().__init__()

    def load_config(self) -> None:
        settings = self._settings
        options: dict[str, Any] = {
            "bind": f"{settings.api_host}:{settings.api_port}",
            "workers": settings.api_processes,
            "worker_class": f"{Worker.__module__}.{Worker.__name__}",
            "worker_connections": settings.api_connections,
            "graceful_timeout": GRACE_SECONDS,
            "keepalive": 30,
            "control_socket_disable": True,
            "logger_class": f"{__name__}.{Logger.__name__}",
            "child_exit": self._forget_running,
            "on_exit": lambda _: rmtree(self._shared_metrics, ignore_errors=True),
        }
        if settings.api_tls_certificate is not None:
            options |= {
                "certfile": str(settings.api_tls_certificate),
                "keyfile": str(settings.api_tls_key),
                "ssl_context": _tls,
            }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        configure_logs(self._settings.log_level)
        # After the fork, which no thread survives.
        configure_tracing(self._settings, service="api")
        return create_app(self._settings, shared_metrics=self._shared_metrics)

    def _forget_running(self, _: Any, worker: Any) -> None:
        """Requests that a dead process was answering no longer run; what it counted stays."""
        mark_process_dead(worker.pid, str(self._shared_metrics))  # type: ignore[no-untyped-call]


def _tls(config: Any, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """How the API speaks TLS: nothing older than 1.2, whatever OpenSSL is set up to."""
    del config
    context = default()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # `Worker` shakes hands: gevent would wait without a bound.
    context.wrap_socket = partial(  # type: ignore[method-assign]
        context.wrap_socket, do_handshake_on_connect=False
    )
    return context


def _log_uncaught(_: gevent.hub.Hub, context: object, *error: Any) -> None:
    """In the place of gevent's own, which writes a stack for people."""
    del context
    _log.critical("uncaught error", exc_info=error)


def configure_logs(level: str) -> None:
    """Log from requests and from threads alike."""
    configure_logging(level, service="api")
    lock_logs_natively()


def serve(shared_metrics: Path) -> int:
    """Serve until SIGTERM.

    Args:
        shared_metrics: The folder in which processes count together; removed at the end.

    See `services.api.main`, which this module must be imported by.

    Raises:
        RuntimeError: `services.api.patching.patch` was not called.
    """
    if not is_module_patched("socket"):  # a process would wait in `accept` and answer nobody
        raise RuntimeError("services.api.patching.patch must be called first")
    settings = Settings()
    configure_logs(settings.log_level)
    share_one_heap()
    let_others_finish()
    gevent.hub.Hub.print_exception = _log_uncaught
    # A refusal out of a thread of its pool is raised again where it is answered.
    gevent.hub.Hub.NOT_ERROR = (*gevent.hub.Hub.NOT_ERROR, HemotriageError)
    # Else the first full collection of each process copies nearly all that it shares with others.
    gc.collect()
    gc.freeze()
    _Server(settings, shared_metrics).run()
    return 0
