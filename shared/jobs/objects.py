"""The objects that jobs name."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, select

from shared.db.models import JobImageRow
from shared.storage import NamedObject


def named_objects(connection: Connection) -> Iterator[NamedObject]:
    """The image of every job, but for those that were purged."""
    row = JobImageRow
    kept = select(row.object_key, row.sha256, row.bytes, row.media_type).where(
        row.purged_at.is_(None)
    )
    for found in connection.execute(kept):
        yield NamedObject(found.object_key, found.sha256, found.media_type, found.bytes)
