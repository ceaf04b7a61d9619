"""Gives committed events their places in the chain, as a transparency log does.

Ids of events come from a sequence: an event may be committed long after one with a higher id. Each
pass looks at all ids from well below the newest seals on, and at the next part of all older ones,
round and round: however late an event is committed, it gets its place.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, insert, select, text
from sqlalchemy.orm import Session

from shared.audit.chain import EVENT_TEXT, GENESIS, SEALING_LOCK, event_of, link_hash
from shared.db.models import AuditCheckpointRow, AuditSealRow
from shared.db.session import Sessions

WINDOW = 10_000
"""So many ids below the newest seals are looked at in each pass."""

PART = 5_000
"""So many of the older events are looked at in each pass."""

_BATCH = 2_000
_LOWEST = -(2**63)

# Both sides are bounded, so that no plan reads all seals.
_NEW = text(f"""
    SELECT {EVENT_TEXT} FROM audit_events AS event
    WHERE event.id > :floor AND NOT EXISTS (
        SELECT FROM audit_seals AS seal WHERE seal.event_id = event.id AND seal.event_id > :floor)
    ORDER BY event.id LIMIT :batch
""")  # noqa: S608 - no parameter is in the text

_RECENT = text("""
    SELECT min(event_id) FROM (
        SELECT event_id FROM audit_seals ORDER BY position DESC LIMIT 1000) AS newest
""")

_PART = text("""
    SELECT min(id) AS first, max(id) AS last FROM (
        SELECT id FROM audit_events WHERE id > :after ORDER BY id LIMIT :part) AS part
""")

_MISSED = text(f"""
    SELECT {EVENT_TEXT} FROM audit_events AS event
    WHERE event.id BETWEEN :first AND :last AND NOT EXISTS (
        SELECT FROM audit_seals AS seal
        WHERE seal.event_id = event.id AND seal.event_id BETWEEN :first AND :last)
    ORDER BY event.id
""")  # noqa: S608


class Sealer:
    """Seals what is new. Any number may work at once: one at a time has the lock."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._swept = _LOWEST

    def seal(self) -> int:
        """Give all committed events without a place one, those with lower ids first.

        Returns:
            How many got a place.
        """
        sealed = 0
        while True:
            with self._sessions.begin() as session:
                if not session.scalar(select(func.pg_try_advisory_xact_lock(SEALING_LOCK))):
                    return sealed
                found = _append(session, _NEW, floor=_floor(session), batch=_BATCH)
                sealed += found
                if found < _BATCH:
                    return sealed + self._look_back(session)

    def _look_back(self, session: Session) -> int:
        """Look at the next part of the older events; behind the last one, begin anew."""
        bounds = session.execute(_PART, {"after": self._swept, "part": PART}).one()
        if bounds.last is None:
            self._swept = _LOWEST
            return 0
        self._swept = bounds.last
        return _append(session, _MISSED, first=bounds.first, last=bounds.last)


def _floor(session: Session) -> int:
    lowest = session.scalar(_RECENT)
    return _LOWEST if lowest is None else max(lowest - WINDOW, _LOWEST)


def _append(session: Session, statement: Any, **bounds: int) -> int:
    events = [event_of(row) for row in session.execute(statement, bounds)]
    if not events:
        return 0
    position, previous = tail(session)
    seals = []
    for event in events:
        position, previous = position + 1, link_hash(previous, position + 1, event)
        seals.append({"position": position, "event_id": int(event["id"] or 0), "hash": previous})
    session.execute(insert(AuditSealRow), seals)
    return len(seals)


def tail(session: Session) -> tuple[int, bytes]:
    """Position and hash of the end of the chain.

    Where all seals were pruned it is the checkpoint that was kept; (0, `GENESIS`) before the first.
    """
    for table in (AuditSealRow, AuditCheckpointRow):
        newest = select(table.position, table.hash).order_by(table.position.desc()).limit(1)
        found = session.execute(newest).one_or_none()
        if found is not None:
            return found.position, bytes(found.hash)
    return 0, GENESIS
