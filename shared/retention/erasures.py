"""Erasures: what is asked for and how far it is; `erase.py` carries them out."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import uuid
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import SecretStr
from sqlalchemy import select, text

from shared import audit
from shared.db.models import ErasureRow
from shared.db.session import Sessions, execute
from shared.errors import NotFoundError
from shared.retention.holds import LegalHoldError, holding
from shared.retention.subjects import subjects_of

_COLUMNS = ErasureRow.__table__.c
_QUEUED = text("SELECT id FROM erasures WHERE status = 'queued' ORDER BY requested_at, id LIMIT 1")


class ErasureStatus(StrEnum):
    """How far an erasure is."""

    QUEUED = "queued"  # asked for; the retention process does it within seconds
    DONE = "done"  # nothing of the patient is left in the database; objects follow at once
    REFUSED = "refused"  # a legal hold was placed meanwhile; nothing was erased


@dataclass(frozen=True)
class Erasure:
    """An erasure as it stood when it was read; it does not tell whose.

    `counts` are rows by table. `models` were trained on a data set that was withdrawn, and are
    there still.
    """

    id: uuid.UUID
    tenant: str
    status: ErasureStatus
    ref_digest: str | None
    reason: str
    requested_by: str
    requested_at: dt.datetime
    finished_at: dt.datetime | None
    counts: dict[str, int]
    job_ids: tuple[uuid.UUID, ...]
    order_ids: tuple[uuid.UUID, ...]
    dataset_ids: tuple[uuid.UUID, ...]
    models: tuple[str, ...]
    hold_ids: tuple[uuid.UUID, ...]


def digest_of(patient_ref: str, secret: SecretStr | None) -> str | None:
    """What tells two erasures of a patient to be of the same, to who has the secret.

    HMAC-SHA256 (RFC 2104). A bare hash of a pseudonym of few characters would be found by trying.
    """
    if not secret:
        return None
    key = secret.get_secret_value().encode()
    return hmac.new(key, b"erasure\0" + patient_ref.encode(), hashlib.sha256).hexdigest()


def request_erasure(
    sessions: Sessions,
    patient_ref: str,
    *,
    tenant: str,
    reason: str,
    actor: str,
    secret: SecretStr | None,
) -> Erasure:
    """Ask for all data of a tenant's patient to be erased.

    Args:
        sessions: The database.
        patient_ref: The pseudonym.
        tenant: In which it is that patient's.
        reason: A code; never anything of a patient.
        actor: Who asks, as in `audit.record`.
        secret: That of pseudonyms; without one no digest of the patient is kept.

    Raises:
        LegalHoldError: A hold covers some of it; nothing is asked for.
    """
    erasure_id = uuid.uuid4()
    with sessions.begin() as session:
        found = subjects_of(session, tenant, patient_ref)
        if holds := holding(session, tenant, patient_ref, found.job_ids, found.order_ids):
            raise LegalHoldError(f"Held by {', '.join(map(str, holds))}.")
        row = ErasureRow(
            id=erasure_id,
            tenant=tenant,
            patient_ref=patient_ref,
            ref_digest=digest_of(patient_ref, secret),
            reason=reason,
            requested_by=actor,
        )
        session.add(row)
        told = {"erasure": str(erasure_id), "tenant": tenant, "reason": reason}
        audit.record(session, actor, "erasure.requested", None, **told)
    return get_erasure(sessions, erasure_id)


def get_erasure(sessions: Sessions, erasure_id: uuid.UUID) -> Erasure:
    """Read an erasure.

    Raises:
        NotFoundError: There is no such erasure.
    """
    for row in execute(sessions, select(*_COLUMNS).where(_COLUMNS.id == erasure_id)):
        return _erasure_of(row)
    raise NotFoundError(f"There is no erasure {erasure_id}.")


def list_erasures(sessions: Sessions, *, limit: int | None = None) -> list[Erasure]:
    """The newest erasures, newest first."""
    newest = select(*_COLUMNS).order_by(_COLUMNS.requested_at.desc(), _COLUMNS.id.desc())
    return [_erasure_of(row) for row in execute(sessions, newest.limit(limit))]


def oldest_queued(sessions: Sessions) -> uuid.UUID | None:
    """The erasure that has waited longest; None: none waits."""
    rows = execute(sessions, _QUEUED)
    return rows[0].id if rows else None


def _erasure_of(row: Any) -> Erasure:
    values = {name: getattr(row, name) for name in Erasure.__dataclass_fields__}
    lists = ("job_ids", "order_ids", "dataset_ids", "models", "hold_ids")
    made = {name: tuple(values[name]) for name in lists}
    return Erasure(**{**values, **made, "status": ErasureStatus(row.status)})
