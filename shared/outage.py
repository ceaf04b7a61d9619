"""Tells that a server is away from that something is wrong with what it was asked."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from shared.errors import TransientError


def is_outage(error: Exception) -> bool:
    """Whether a server is away, so that the same may work later."""
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or type(error).__name__ == "OperationalError"
    return isinstance(error, (TransientError, PoolTimeoutError))
