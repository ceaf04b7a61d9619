"""The ledger of erasures: what must be erased again where a backup from before is restored.

It has ids and no patient. Each entry is a row and an object of its own, so that the database may be
restored without the store, and the store without the database. Where both are, a copy that was kept
elsewhere is what knows of the erasures since.
"""

from __future__ import annotations

import datetime as dt
import io
import uuid
from collections.abc import Iterable, Iterator
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from shared.auth.tenants import DEFAULT_TENANT
from shared.db.models import ErasureRow
from shared.db.session import Sessions
from shared.errors import BadRequestError
from shared.retention.erasures import Erasure, ErasureStatus, list_erasures
from shared.storage import ERASURES_PREFIX, ObjectStore, erasure_key


class LedgerInvalidError(BadRequestError):
    """The ledger of erasures cannot be read."""

    code = "ledger_invalid"


class Entry(BaseModel):
    """An erasure that was done; as one line of JSON it is what a ledger has of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: uuid.UUID
    # What was written before there were tenants has none.
    tenant: str = DEFAULT_TENANT
    reason: str
    requested_by: str
    requested_at: dt.datetime
    ref_digest: str | None
    job_ids: tuple[uuid.UUID, ...]
    order_ids: tuple[uuid.UUID, ...]

    @classmethod
    def of(cls, erasure: ErasureRow | Erasure) -> Self:
        """The entry of an erasure."""
        return cls(**{name: getattr(erasure, name) for name in cls.model_fields})


def write_entry(storage: ObjectStore, entry: Entry) -> None:
    """Put an entry into the object store.

    Raises:
        StorageUnavailableError: The store does not answer.
    """
    content = entry.model_dump_json().encode()
    key = erasure_key(entry.id)
    storage.put(key, io.BytesIO(content), len(content), "application/json")


def strike_entry(storage: ObjectStore, erasure_id: uuid.UUID) -> None:
    """Take the entry out of the object store, if it is there, of an erasure that was refused.

    Raises:
        StorageUnavailableError: The store does not answer.
    """
    storage.delete(erasure_key(erasure_id))


def read_ledger(sessions: Sessions, storage: ObjectStore, lines: Iterable[str] = ()) -> list[Entry]:
    """All entries that the database, the store and a copy know, each once, the oldest first.

    Args:
        sessions: The database.
        storage: The object store.
        lines: A copy, an entry a line.

    Raises:
        LedgerInvalidError: An entry is none.
        StorageUnavailableError: The store does not answer.
    """
    known = list_erasures(sessions)
    entries = {one.id: Entry.of(one) for one in known if one.status is ErasureStatus.DONE}
    refused = {one.id for one in known if one.status is ErasureStatus.REFUSED}
    for entry in (*_stored(storage), *map(_parsed, filter(str.strip, lines))):
        if entry.id not in refused:
            entries.setdefault(entry.id, entry)
    return sorted(entries.values(), key=lambda entry: (entry.requested_at, entry.id))


def _stored(storage: ObjectStore) -> Iterator[Entry]:
    for found in list(storage.list(ERASURES_PREFIX, after=ERASURES_PREFIX)):
        yield _parsed(storage.get(found.key))


def _parsed(line: str | bytes) -> Entry:
    try:
        return Entry.model_validate_json(line)
    except ValidationError as error:
        raise LedgerInvalidError("A line is no entry.") from error
