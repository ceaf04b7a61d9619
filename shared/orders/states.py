"""Where an order stands, and what cannot be done there."""

from __future__ import annotations

from enum import StrEnum

from shared.errors import ConflictError, PermanentError


class OrderState(StrEnum):
    """Where an order stands.

       ┌──────────────────────────────────┐ it is placed again
       ▼                                  │
    expected ─────────────────────────► cancelled
       │                                  ▲
       └────► claimed ────────────────────┤
                 └────► completed

    Jobs of this service move no order: what has become of an expected one is told by the newest
    job with its accession number.
    """

    EXPECTED = "expected"  # placed; its images may come at any time
    CLAIMED = "claimed"  # another performer works on it, under a transaction UID
    COMPLETED = "completed"  # that performer has done it
    CANCELLED = "cancelled"  # taken back, or given up by its performer


class OrderClosedError(ConflictError):
    """The order stands where this cannot be done."""

    code = "order_closed"


class OrderExistsError(ConflictError):
    """The id or the accession number is another order's."""

    code = "order_exists"


class WrongTransactionError(ConflictError):
    """The order was claimed under another transaction UID."""

    code = "wrong_transaction"


class OrderFieldError(PermanentError):
    """A field of the order is not valid."""

    code = "validation_failed"
