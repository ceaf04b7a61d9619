"""The objects that registered versions name."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, func, select, true

from shared.db.models import ModelVersionRow
from shared.storage import NamedObject, artefact_key

_MEDIA_TYPE = "application/octet-stream"


def named_objects(connection: Connection) -> Iterator[NamedObject]:
    """The artefacts of all registered versions, each once."""
    row = ModelVersionRow
    artefacts = func.json_each(row.card["artefacts"]).table_valued("key", "value")
    digests = select(artefacts.c.value.op("->>")("sha256")).select_from(row).join(artefacts, true())
    for (sha256,) in connection.execute(digests.distinct()):
        yield NamedObject(artefact_key(sha256), sha256, _MEDIA_TYPE)
