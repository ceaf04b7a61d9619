"""Answers of OpenID providers, bounded: whoever stands in for one can fill no memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx

MAX_ANSWER_BYTES = 256 * 1024
"""Of a discovery document, a key set or a token; real ones have some 10 KiB."""

MAX_ANSWER_SECONDS = 15.0
"""From an answer's head to its end, however its bytes drip in."""


class AnswerTooLargeError(httpx.HTTPError):
    """A server's answer is larger, slower or otherwise coded than is taken."""


class _Bounded(httpx.SyncByteStream):
    def __init__(self, stream: httpx.SyncByteStream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        left = MAX_ANSWER_BYTES
        ends = time.monotonic() + MAX_ANSWER_SECONDS
        for piece in self._stream:
            left -= len(piece)
            if left < 0 or time.monotonic() > ends:
                raise AnswerTooLargeError("the answer is too long, or comes too slowly")
            yield piece

    def close(self) -> None:
        self._stream.close()


def _bound(response: httpx.Response) -> None:
    # What is compressed could grow a thousandfold; it was not asked for.
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise AnswerTooLargeError("the answer is compressed")
    assert isinstance(response.stream, httpx.SyncByteStream)  # noqa: S101 - of a sync client
    response.stream = _Bounded(response.stream)


def bounded_options() -> dict[str, Any]:
    """Options of an `httpx.Client`, or of one that is made from it, that bound its answers.

    Calls then raise `AnswerTooLargeError`, an `httpx.HTTPError`, beyond the bounds.
    """
    return {
        "headers": {"Accept-Encoding": "identity"},
        "event_hooks": {"response": [_bound]},
    }
