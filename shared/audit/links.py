"""Reads the chain of the database, a page at a time."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import text

from shared.audit.chain import EVENT_TEXT, Link, event_of
from shared.db.session import Sessions, execute

_PAGE = 5_000

# Where all seals were pruned, the chain goes on from the checkpoint that was kept.
_ENDS = text("""
    SELECT COALESCE(min(position), (SELECT max(position) + 1 FROM audit_checkpoints), 1) AS first,
        COALESCE(max(position), (SELECT max(position) FROM audit_checkpoints), 0) AS last
    FROM audit_seals
""")

# A row is looked up by its id, whatever the planner believes of the table's size.
_LINKS = text(f"""
    SELECT seal.position, seal.event_id, seal.hash, found.*
    FROM (
        SELECT position, event_id, hash FROM audit_seals
        WHERE position > :after AND position <= :last ORDER BY position LIMIT {_PAGE}
    ) AS seal
    LEFT JOIN LATERAL (
        SELECT {EVENT_TEXT} FROM audit_events AS event WHERE event.id = seal.event_id OFFSET 0
    ) AS found ON true
    ORDER BY seal.position
""")  # noqa: S608 - no parameter is in the text


def ends(sessions: Sessions) -> tuple[int, int]:
    """The first and the last position; the first behind the last where there is none."""
    (found,) = execute(sessions, _ENDS)
    return found.first, found.last


def links(sessions: Sessions, after: int, last: int) -> Iterator[Link]:
    """The events of positions in (after, last], in order; memory is bounded."""
    while page := execute(sessions, _LINKS, {"after": after, "last": last}):
        for row in page:
            event = None if row.id is None else event_of(row)
            yield Link(row.position, row.event_id, bytes(row.hash), event)
        after = page[-1].position
