"""What becomes of a connection: gunicorn's gevent worker, with a bound on each way to hold one."""

from __future__ import annotations

import json
import logging
import os
import select
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Any

import gevent
from gevent.monkey import get_original
from gunicorn.http.errors import (
    ExpectationFailed,
    InvalidResponseHeader,
    InvalidResponseHeaderName,
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
    UnsupportedTransferCoding,
)
from gunicorn.workers.ggevent import GeventWorker

from services.api.context import EXTENSION
from services.api.errors import PROBLEM, problem_body

HANDSHAKE_SECONDS = 10.0
"""For a client to shake hands, where the API speaks TLS."""

STALLED_SECONDS = 60.0
"""For a client to take the next bytes of its answer; then its connection is closed."""

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.1
# gevent's own would let others run meanwhile, and throw at whoever waits for the socket.
_poll, _socket = get_original("select", "poll"), get_original("socket", "socket")

_STATUSES = {
    ExpectationFailed: HTTPStatus.EXPECTATION_FAILED,
    LimitRequestHeaders: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    LimitRequestLine: HTTPStatus.REQUEST_URI_TOO_LONG,
    UnsupportedTransferCoding: HTTPStatus.NOT_IMPLEMENTED,
}


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
        if isinstance(client, ssl.SSLSocket) and not _shakes_hands(client, addr):
            return
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

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: BaseException) -> None:
        """Answer what is no request, or what failed outside of the application.

        Neither logs nor answer repeat anything of it, as gunicorn's own would: a line that is no
        request may have a patient's number in it, or a key.
        """
        is_ours = isinstance(exc, (InvalidResponseHeader, InvalidResponseHeaderName))
        is_clients = isinstance(exc, (ParseException, ssl.SSLError)) and not is_ours
        if is_clients:
            _log.warning("no request", extra={"error": type(exc).__name__, "address": addr[0]})
        else:
            _log.error("unexpected error", exc_info=exc)
        status = HTTPStatus.BAD_REQUEST if is_clients else HTTPStatus.INTERNAL_SERVER_ERROR
        with suppress(OSError):
            client.settimeout(STALLED_SECONDS)
            client.sendall(_refusal(_STATUSES.get(type(exc), status)))

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


def _shakes_hands(client: ssl.SSLSocket, addr: Any) -> bool:
    """Whether a client does so in time; one that is silent would keep its place for ever."""
    try:
        with gevent.Timeout(HANDSHAKE_SECONDS):
            client.do_handshake()
    except (gevent.Timeout, OSError) as error:
        _log.info("no handshake", extra={"error": type(error).__name__, "address": addr[0]})
        return False
    return True


def _refusal(status: HTTPStatus) -> bytes:
    """A whole answer, to a connection that ends with it."""
    body = json.dumps(problem_body(status, status.name.lower(), f"{status.phrase}.")).encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\n"
        f"Content-Type: {PROBLEM}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
