"""One HTTP call to a client's receiver, bounded in every way."""

from __future__ import annotations

import asyncio
import functools
import re
import ssl

import httpx

from shared.webhooks.hosts import Callback

_HEADERS = {"Content-Type": "application/json", "User-Agent": "hemotriage"}


class CallFailedError(Exception):
    """A call did not bring about what it was for.

    Attributes:
        code: Why, such as `connect_timeout`. Never a text of the receiver, which may hold anything.
        is_final: Whether another call would end in the same way.
    """

    def __init__(self, code: str, *, is_final: bool = False) -> None:
        self.code = code
        self.is_final = is_final
        super().__init__(code)

    @classmethod
    def of(cls, error: httpx.TransportError) -> CallFailedError:
        """The failure that an error of the connection is, by its name."""
        return cls(re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__).lower())


def post(
    callback: Callback,
    headers: dict[str, str],
    body: bytes,
    *,
    connect_seconds: float,
    answer_seconds: float,
) -> int:
    """Post a body and read the answer's status line and headers, never its body.

    No redirect is followed: it would lead off the allow-list. No proxy is used, and nothing else
    that the environment names but OpenSSL's `SSL_CERT_FILE` and `SSL_CERT_DIR`.

    Args:
        callback: Where to.
        headers: Headers besides the usual ones.
        body: JSON.
        connect_seconds: Longest wait for a connection.
        answer_seconds: Longest wait for the next bytes. Both together bound the whole call, so
            that a server which sends a byte now and then cannot hold it.

    Returns:
        The HTTP status.

    Raises:
        CallFailedError: There was no answer.
    """
    timeout = httpx.Timeout(answer_seconds, connect=connect_seconds)
    try:
        return asyncio.run(
            _post(callback, headers, body, timeout, total_seconds=connect_seconds + answer_seconds)
        )
    except TimeoutError as error:
        raise CallFailedError("call_timeout") from error
    except httpx.TransportError as error:
        raise CallFailedError.of(error) from error


async def _post(
    callback: Callback,
    headers: dict[str, str],
    body: bytes,
    timeout: httpx.Timeout,
    *,
    total_seconds: float,
) -> int:
    url = httpx.URL(
        scheme=callback.scheme,
        host=callback.host,
        port=callback.port,
        raw_path=callback.target.encode(),
    )
    async with (
        asyncio.timeout(total_seconds),
        httpx.AsyncClient(verify=_tls(), timeout=timeout, trust_env=False) as client,
        client.stream("POST", url, headers={**_HEADERS, **headers}, content=body) as response,
    ):
        return response.status_code


@functools.cache
def _tls() -> ssl.SSLContext:
    """Trusts the certificates of the system, among which a hospital may have its own."""
    return ssl.create_default_context()
