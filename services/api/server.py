"""gunicorn with gevent: a request that waits for a server or for a job's end holds no thread."""

from __future__ import annotations

import gc
import logging
import os
import select
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from typing import Any

import gevent
import gevent.hub
from gevent.monkey import get_original, is_module_patched
from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger as GunicornLogger
from gunicorn.workers.ggevent import GeventWorker
from prometheus_client.multiprocess import mark_process_dead

from services.api.app import create_app
from services.api.context import EXTENSION
from services.api.patching import lock_logs_natively
from shared.errors import HemotriageError
from shared.logging import configure_logging
from shared.memory import share_one_heap
from shared.settings import Settings
from shared.telemetry.tracing import configure_tracing

GRACE_SECONDS = 30

_log = logging.getLogger(__name__)

STALLED_SECONDS = 60.0
"""For a client to take the next bytes of its answer; then its connection is closed."""

_LOOK_SECONDS = 0.1
# gevent's own would let others run meanwhile, and throw at whoever waits for the socket.
_poll, _socket = get_original("select", "poll"), get_original("socket", "socket")


class Logger(GunicornLogger):  # type: ignore[misc]
    """Has gunicorn log as everything else does; its own format is for people."""

    def setup(self, cfg: Any) -> None:
        """See gunicorn's."""
        super().setup(cfg)
        for log in (self.error_log, self.access_log):
            log.handlers.clear()
            log.propagate = True


class Worker(GeventWorker):  # type: ignore[misc]
    """A process that does not wait, when it stops, for clients that ask for nothing.

    gunicorn's own would wait for its whole grace for each connection that a client keeps open.
    """

    sockets: list[Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._clients: dict[gevent.Greenlet, socket.socket] = {}
        self._idle: set[socket.socket] = set()

    def patch(self) -> None:
        """Take the listening sockets as gevent's.

        gunicorn's own would patch everything once more first, the locks of logging too:
        `services.api.patching` leaves those out.
        """
        self.sockets = [
            socket.socket(one.FAMILY, socket.SOCK_STREAM, fileno=one.sock.detach())
            for one in self.sockets
        ]

    def handle(self, listener: Any, client: socket.socket, addr: Any) -> None:
        """Serve one connection."""
        connection = gevent.getcurrent()
        self._clients[connection] = client
        try:
            super().handle(listener, client, addr)
        finally:
            del self._clients[connection]

    @contextmanager
    def timeout_ctx(self) -> Iterator[None]:
        """Bounds the wait for a connection's next request."""
        client = self._clients[gevent.getcurrent()]
        self._idle.add(client)
        try:
            with super().timeout_ctx():
                yield
        finally:
            self._idle.discard(client)

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> Any:
        """Answer one request, whose client takes what it asked for or loses its place."""
        sock.settimeout(STALLED_SECONDS)
        return super().handle_request(listener_name, req, sock, addr)

    def run(self) -> None:
        """Serve; what was called is written to the audit trail meanwhile and at the end."""
        calls = self.wsgi.extensions[EXTENSION].calls
        calls.start()
        try:
            super().run()
        finally:
            calls.close()

    def handle_exit(self, sig: int, frame: Any) -> None:
        """SIGTERM: close what is idle or listens; what else runs is finished by `run`."""
        super().handle_exit(sig, frame)
        gevent.spawn(self._close_idle)
        gevent.spawn(self.wsgi.extensions[EXTENSION].stopping.set)

    def _close_idle(self) -> None:
        """Until the end: a connection that is being answered is idle only afterwards."""
        while True:
            for client in list(self._idle):
                _end_reading(client)
            gevent.sleep(_LOOK_SECONDS)


def _end_reading(client: socket.socket) -> None:
    """Have whoever waits for a client's next request see the end, unless one has come just now.

    To throw an exception at it would not do: it may have begun to answer by the time it is thrown,
    and gunicorn answers whatever is thrown with a 500, to a client that may not have asked.
    """
    poller = _poll()
    poller.register(client.fileno(), select.POLLIN)
    with suppress(OSError), _socket(fileno=os.dup(client.fileno())) as same:  # it may have gone
        if not poller.poll(0):
            same.shutdown(socket.SHUT_RD)


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
            "worker_class": f"{__name__}.{Worker.__name__}",
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
    gevent.hub.Hub.print_exception = _log_uncaught
    # A refusal out of a thread of its pool is raised again where it is answered.
    gevent.hub.Hub.NOT_ERROR = (*gevent.hub.Hub.NOT_ERROR, HemotriageError)
    # Else the first full collection of each process copies nearly all that it shares with others.
    gc.collect()
    gc.freeze()
    _Server(settings, shared_metrics).run()
    return 0
