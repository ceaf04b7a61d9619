"""Bodies come in at a pace, or not at all: who sends a byte now and then holds no place.

The server waits for the head of a request for as long as it keeps a connection, and no longer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import IO, Any

from gevent import Timeout

from shared.errors import PermanentError

GRACE_SECONDS = 30.0
"""For the first bytes of a body, and for whatever stops it on its way."""

LEAST_BYTES_A_SECOND = 4096
"""Of a body on average: 32 kbit/s, less than any line that images are sent by."""

_PIECE = 64 * 1024

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class TooSlowError(PermanentError):
    """The request came in too slowly."""

    code = "request_too_slow"
    http_status = HTTPStatus.REQUEST_TIMEOUT


class PacedBody:
    """The body of one request (`wsgi.input` of PEP 3333)."""

    def __init__(
        self,
        stream: IO[bytes],
        *,
        grace_seconds: float = GRACE_SECONDS,
        bytes_a_second: float = LEAST_BYTES_A_SECOND,
    ) -> None:
        """Begin; time runs from here on while somebody reads.

        Args:
            stream: The server's own.
            grace_seconds: What is always given.
            bytes_a_second: What must have come on average, beyond that.
        """
        self._stream = stream
        self._seconds = grace_seconds
        self._pace = bytes_a_second

    def read(self, size: int = -1) -> bytes:
        """As of any stream: `size` bytes, or all that there are.

        Raises:
            TooSlowError: They came too slowly.
        """
        pieces = []
        while size and (piece := self._timed(min(size, _PIECE) if size > 0 else _PIECE)):
            pieces.append(piece)
            size -= len(piece) if size > 0 else 0
        return b"".join(pieces)

    def readline(self, size: int = -1) -> bytes:
        """A line.

        Raises:
            TooSlowError: It came too slowly.
        """
        return self._call(lambda: self._stream.readline(size))

    def readlines(self, hint: int = -1) -> list[bytes]:
        """All lines; `hint` is as of any stream."""
        return list(iter(self.readline, b""))

    def __iter__(self) -> Iterator[bytes]:
        """The lines."""
        return iter(self.readline, b"")

    def _timed(self, size: int) -> bytes:
        return self._call(lambda: self._stream.read(size))

    def _call(self, read: Callable[[], bytes]) -> bytes:
        """Read within the time that is left; what the application does between does not count."""
        begun = time.monotonic()
        try:
            with Timeout(max(self._seconds, 0.001)):
                data = read()
        except (Timeout, TimeoutError) as error:
            self._seconds = 0.0
            raise TooSlowError from error
        self._seconds += len(data) / self._pace - (time.monotonic() - begun)
        return data


def paced(application: Application) -> Application:
    """The application, its requests' bodies paced."""

    def serve(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ["wsgi.input"] = PacedBody(environ["wsgi.input"])
        return application(environ, start_response)

    return serve
