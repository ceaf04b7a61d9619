"""The objects that jobs name."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, select

from shared.db.models import JobImageRow
from shared.storage import NamedObject


def named_objects(connection: Connection) -> Iterator[NamedObject]:
    """The image of every job."""
    row = JobImageRow
    for found in connection.execute(select(row.object_key, row.sha256, row.bytes, row.media_type)):
        yield NamedObject(found.object_key, found.sha256, found.media_type, found.bytes)
