"""The newest gate of every version, in short: a list of versions needs no reports."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import distinct_on

from shared.db.models import GateRow
from shared.db.session import Sessions, execute
from shared.registry.states import GateStatus


@dataclass(frozen=True)
class GateInShort:
    """A gate without its times and its report."""

    id: uuid.UUID
    status: GateStatus
    champion: str | None


def newest_gates(sessions: Sessions) -> dict[tuple[str, int], GateInShort]:
    """The newest gate of each version that has one, by its name and number."""
    row = GateRow
    statement = (
        select(row.name, row.version, row.id, row.status, row.champion)
        .ext(distinct_on(row.name, row.version))
        .order_by(row.name, row.version, row.requested_at.desc(), row.id.desc())
    )
    return {
        (found.name, found.version): GateInShort(found.id, GateStatus(found.status), found.champion)
        for found in execute(sessions, statement)
    }
