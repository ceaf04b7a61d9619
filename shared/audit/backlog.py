"""How far sealing and attesting are behind."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text

from shared.audit.seal import WINDOW
from shared.db.session import Sessions, execute

MOST_COUNTED = 10_000

# Only what a pass would look at first, so that no scrape reads the whole trail.
_BACKLOG = text(f"""
    WITH floor AS (
        SELECT coalesce(min(event_id), -9223372036854775808 + {WINDOW}) - {WINDOW} AS id FROM (
            SELECT event_id FROM audit_seals ORDER BY position DESC LIMIT 1000) AS newest
    ), unsealed AS (
        SELECT at FROM audit_events AS event
        WHERE event.id > (SELECT id FROM floor) AND NOT EXISTS (
            SELECT FROM audit_seals AS seal
            WHERE seal.event_id = event.id AND seal.event_id > (SELECT id FROM floor))
        ORDER BY event.id LIMIT {MOST_COUNTED}
    ), attested AS (
        SELECT position, at FROM audit_checkpoints ORDER BY position DESC LIMIT 1
    ), unattested AS (
        SELECT event.at FROM audit_seals AS seal JOIN audit_events AS event ON event.id = event_id
        WHERE seal.position > coalesce((SELECT position FROM attested), 0)
        ORDER BY seal.position LIMIT 1
    )
    SELECT (SELECT count(*) FROM unsealed) AS unsealed,
        (SELECT extract(epoch FROM now() - min(at)) FROM unsealed) AS unsealed_seconds,
        (SELECT extract(epoch FROM now() - at) FROM unattested) AS unattested_seconds
""")  # noqa: S608 - no parameter is in the text


@dataclass(frozen=True)
class AuditBacklog:
    """What of the audit trail waits.

    Attributes:
        unsealed: Events without a place in the chain, of the newest; at most `MOST_COUNTED`.
        unsealed_seconds: Age of the oldest of them; 0 without any.
        unattested_seconds: Age of the oldest event that no checkpoint covers; 0 without any.
    """

    unsealed: int
    unsealed_seconds: float
    unattested_seconds: float


def audit_backlog(sessions: Sessions) -> AuditBacklog:
    """Read it; a few thousand rows of two indexes, however long the trail is."""
    (found,) = execute(sessions, _BACKLOG)
    return AuditBacklog(
        unsealed=found.unsealed,
        unsealed_seconds=max(float(found.unsealed_seconds or 0), 0.0),
        unattested_seconds=max(float(found.unattested_seconds or 0), 0.0),
    )
