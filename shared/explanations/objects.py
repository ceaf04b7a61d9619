"""The objects that explanations name."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, select

from shared.db.models import ExplanationRow
from shared.storage import NamedObject, explanation_key

_MEDIA_TYPE = "image/png"


def named_objects(connection: Connection) -> Iterator[NamedObject]:
    """The picture of every explanation that has one."""
    row = ExplanationRow
    statement = select(row.job_id, row.image_index, row.method, row.png_sha256)
    for job_id, index, method, sha256 in connection.execute(statement):
        if sha256 is not None:
            yield NamedObject(explanation_key(job_id, index, method, sha256), sha256, _MEDIA_TYPE)
