"""The objects that data sets name."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, func, select

from shared.datasets.states import DatasetSource
from shared.db.models import DatasetRow
from shared.storage import NamedObject, training_image_key, upload_key

_ZIP = "application/zip"


def named_objects(connection: Connection) -> Iterator[NamedObject]:
    """The images of all versions, each once, and the zips whose import has not ended."""
    row = DatasetRow
    images = (
        select(func.json_array_elements(row.record["images"]).label("image"))
        .where(row.record.is_not(None))
        .subquery()
    )
    parts = (images.c.image.op("->>")(name) for name in ("sha256", "media_type"))
    for sha256, media_type in connection.execute(select(*parts).distinct()):
        yield NamedObject(training_image_key(sha256), sha256, media_type)
    uploads = select(row.id, row.upload_sha256, row.upload_bytes).where(
        row.source == DatasetSource.UPLOAD, row.finished_at.is_(None)
    )
    for found in connection.execute(uploads):
        yield NamedObject(upload_key(found.id), found.upload_sha256, _ZIP, found.upload_bytes)
