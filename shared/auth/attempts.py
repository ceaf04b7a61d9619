"""Invalid keys and tokens from one address: after so many in a minute none is looked at.

A secret of 256 bits is guessed by nobody. The limit is for the database, which each attempt asks,
and for the issuers of tokens.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from http import HTTPStatus

from shared.auth.hosts import Address
from shared.errors import PermanentError

_MINUTE = 60.0
_MOST_ADDRESSES = 10_000


class TooManyAttemptsError(PermanentError):
    """Too many invalid keys came from this address; send a valid one later."""

    code = "too_many_attempts"
    http_status = HTTPStatus.TOO_MANY_REQUESTS


class FailedAttempts:
    """Counts what fails, by address and minute, in this process; safe to share between threads."""

    def __init__(self, most: int) -> None:
        """Allow so many in a minute, from each address."""
        self._most = most
        self._failed: OrderedDict[Address | None, tuple[float, int]] = OrderedDict()
        self._lock = threading.Lock()

    def check(self, address: Address | None) -> None:
        """Let an address try; None is any that is not known.

        Raises:
            TooManyAttemptsError: As many as are allowed have failed within the minute.
        """
        with self._lock:
            began_at, failed = self._failed.get(address, (0.0, 0))
            left = began_at + _MINUTE - time.monotonic()
        if failed >= self._most and left > 0:
            error = TooManyAttemptsError()
            error.retry_after_seconds = math.ceil(left)
            raise error

    def failed(self, address: Address | None) -> None:
        """Count one; where too many addresses are known, the one that began first is forgotten."""
        now = time.monotonic()
        with self._lock:
            began_at, failed = self._failed.get(address, (now, 0))
            if now - began_at >= _MINUTE:
                del self._failed[address]
                began_at, failed = now, 0
            self._failed[address] = (began_at, failed + 1)
            if len(self._failed) > _MOST_ADDRESSES:
                self._failed.popitem(last=False)
