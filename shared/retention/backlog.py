"""How long erasures, and objects that nobody owns any more, have waited for the retention process.

It logs what fails and tries again for ever: that an erasure does not get done is seen here alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text

from shared.db.session import Sessions, execute

# The first entry of an index each.
_BACKLOG = text("""
    SELECT extract(epoch FROM now() - (
            SELECT min(requested_at) FROM erasures WHERE status = 'queued')) AS erasures,
        extract(epoch FROM now() - (
            SELECT min(due_at) FROM object_removals WHERE due_at <= now())) AS removals
""")


@dataclass(frozen=True)
class RetentionBacklog:
    """What waits.

    Attributes:
        erasure_seconds: Since the oldest erasure that is not done was asked for; 0 without any.
        removal_seconds: For which the oldest object has been due to be removed; 0 without any.
    """

    erasure_seconds: float
    removal_seconds: float


def retention_backlog(sessions: Sessions) -> RetentionBacklog:
    """Read it."""
    (found,) = execute(sessions, _BACKLOG)
    return RetentionBacklog(
        erasure_seconds=max(float(found.erasures or 0), 0.0),
        removal_seconds=float(found.removals or 0),
    )
