"""How a call goes to the service: address, key, timeouts, and when it is sent again."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import pydantic

from shared.client.answers import Answer
from shared.client.errors import RefusedError, UnreadableAnswerError

TIMEOUT_SECONDS = 60.0
PATIENCE_SECONDS = 30.0

PAUSE_SECONDS = 0.2
"""Between two calls that wait: a busy service answers before the end of the wait."""

POLL_SECONDS = 2
"""Between two calls that ask for something that takes minutes."""

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_IDEMPOTENT = {"GET", "PUT", "DELETE"}  # RFC 9110, section 9.2.2, as far as the service has them
_BUSY = {429, 503}

AnswerT = TypeVar("AnswerT", bound=Answer)


class Transport:
    """Speaks to one service with one key. Safe to use from several threads."""

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        timeout: float = TIMEOUT_SECONDS,
        patience: float = PATIENCE_SECONDS,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Prepare a client; nothing connects before the first call.

        Args:
            url: Address of the service, without `/v1`.
            api_key: A key, or a token of a trusted issuer.
            timeout: Seconds that connecting, sending and each read may take.
            patience: Seconds within which a call that is refused as 429 or 503 is sent again,
                after the `Retry-After` of each answer; 0: never. Only calls that are safe to
                repeat: reading, replacing, deleting, and posting with an Idempotency-Key.
            transport: Of `httpx`, for a proxy or a client certificate; None: the usual one.
        """
        self._patience = patience
        self._http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {api_key}"},
            timeout=timeout,
            transport=transport,
            # A proxy that the environment names cannot reach this machine's own address.
            trust_env=httpx.URL(url).host not in _LOOPBACK,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _send(
        self, method: str, path: str, *, repeatable: bool = False, **given: Any
    ) -> httpx.Response:
        """Send a call, again while the service is busy and the call is safe to repeat.

        Raises:
            RefusedError: The service refused it, with the service's own code.
            httpx.TransportError: It cannot be reached, or did not answer in time.
        """
        may_repeat = repeatable or method in _IDEMPOTENT
        deadline = time.monotonic() + self._patience
        while True:
            response = self._http.request(method, path, **given)
            if not response.is_error:
                return response
            pause = _pause(response) if may_repeat else None
            if pause is None or time.monotonic() + pause > deadline:
                raise refusal(response)
            time.sleep(pause)

    def _read(self, kind: type[AnswerT], path: str, **given: Any) -> AnswerT:
        """Send a GET; see `_send`."""
        return read(kind, self._send("GET", path, **given))


def read(kind: type[AnswerT], response: httpx.Response) -> AnswerT:
    """The answer in a response.

    Raises:
        UnreadableAnswerError: It is something else.
    """
    try:
        return kind.model_validate_json(response.content)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        told = f"HTTP status {response.status_code}; {where}: {first['msg']}"
        raise UnreadableAnswerError(told) from error


def refusal(response: httpx.Response) -> RefusedError:
    """The error that a response tells of; its body must have been read."""
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict):  # a proxy's page in the place of a problem document
        problem = {"title": f"HTTP status {response.status_code} without a readable body."}
    return RefusedError(
        problem, status=response.status_code, request_id=response.headers.get("X-Request-Id")
    )


def _pause(response: httpx.Response) -> float | None:
    """Seconds until the call may be sent again; None: it may not."""
    told = response.headers.get("Retry-After", "")
    # The other form, a date (RFC 9110, section 10.2.3), the service never sends.
    return float(told) if response.status_code in _BUSY and told.isdecimal() else None
