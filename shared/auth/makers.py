"""Who has had a key in hand: its maker, and whoever made that one."""

from __future__ import annotations

from collections import defaultdict

from sqlalchemy import func, select

from shared.auth.keys import ApiKey
from shared.db.models import ApiKeyRow, AuditRow
from shared.db.session import Sessions, execute

_BY_KEY = "key:"


def have_one_origin(sessions: Sessions, one: ApiKey, other: ApiKey) -> bool:
    """Whether somebody may have had both keys, having made them, or one with the other.

    Whoever makes a key, or has one take another's place, sees its secret. By the audit trail, since
    what was made at a prompt of the machine has no maker among the keys.
    """
    before = _predecessors(sessions)
    return not _line(one.id, before).isdisjoint(_line(other.id, before))


def _predecessors(sessions: Sessions) -> dict[str, set[str]]:
    """The keys that each key was made with, or took the place of."""
    made = func.coalesce(AuditRow.details["successor"].astext, AuditRow.details["key"].astext)
    events = select(made.label("key"), AuditRow.actor).where(
        AuditRow.action.in_(("key.created", "key.rotated")), AuditRow.actor.startswith(_BY_KEY)
    )
    successors = select(ApiKeyRow.id, ApiKeyRow.successor_of).where(
        ApiKeyRow.successor_of.is_not(None)
    )
    before: dict[str, set[str]] = defaultdict(set)
    for event in execute(sessions, events):
        before[event.key].add(event.actor.removeprefix(_BY_KEY))
    for row in execute(sessions, successors):
        before[row.id].add(row.successor_of)
    return before


def _line(key_id: str, before: dict[str, set[str]]) -> set[str]:
    """A key and all before it."""
    line: set[str] = set()
    found = {key_id}
    while found:
        line |= found
        found = {older for newer in found for older in before.get(newer, ())} - line
    return line
