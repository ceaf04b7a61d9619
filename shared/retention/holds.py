"""Legal holds: what they cover is neither purged nor erased until they are released.

A hold is of one tenant: what it names may be something else, and somebody else, in another one.

Whoever removes and whoever places a hold does so alone (`alone`): a hold waits for the batch that
is under way, and whatever is not removed by then stays.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Uuid,
    and_,
    bindparam,
    func,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.orm import Session

from shared import audit
from shared.db.models import JobRow, LegalHoldRow
from shared.db.session import Sessions, execute
from shared.errors import BadRequestError, ConflictError, NotFoundError
from shared.retention.removed import unknown_job_in

_LOCK = int.from_bytes(b"retained") >> 1
"""The advisory lock of all who remove or hold; any number of 63 bits."""

_COLUMNS = LegalHoldRow.__table__.c

JOB_IS_HELD = """EXISTS (
    SELECT FROM legal_holds AS h
    LEFT JOIN orders AS o ON o.tenant = j.tenant AND o.accession_number = j.accession_number
    WHERE h.released_at IS NULL AND h.tenant = j.tenant AND (
        h.kind = 'job' AND h.value = CAST(j.id AS text)
        OR h.kind = 'accession_number' AND h.value = j.accession_number
        OR h.kind = 'patient_ref' AND CASE
            WHEN j.patient_ref IS NOT NULL THEN h.value = j.patient_ref
            WHEN o.patient_ref IS NOT NULL THEN h.value = o.patient_ref
            ELSE EXISTS (
                SELECT FROM jobs AS n WHERE n.tenant = j.tenant
                    AND n.accession_number = j.accession_number AND n.patient_ref = h.value
            )
        END
    )
)"""
"""The condition that a job `j` is held: itself, by its accession number, or by its patient.

Whose it is, is as in `shared.retention.subjects`.
"""

ORDER_IS_HELD = """EXISTS (
    SELECT FROM legal_holds AS h WHERE h.released_at IS NULL AND h.tenant = o.tenant AND (
        h.kind = 'accession_number' AND h.value = o.accession_number
        OR h.kind = 'patient_ref' AND h.value = o.patient_ref
    )
)"""
"""The condition that an order `o` is held. One with jobs is removed only together with them."""

_HOLDING = text(
    """
    SELECT h.id FROM legal_holds AS h WHERE h.released_at IS NULL AND h.tenant = :tenant AND (
        h.kind = 'patient_ref' AND h.value = :patient_ref
        OR h.kind = 'job' AND h.value IN (
            SELECT CAST(j.id AS text) FROM jobs AS j WHERE j.id = ANY(:job_ids)
        )
        OR h.kind = 'accession_number' AND h.value IN (
            SELECT j.accession_number FROM jobs AS j WHERE j.id = ANY(:job_ids)
            UNION SELECT o.accession_number FROM orders AS o WHERE o.id = ANY(:order_ids)
        )
    )
    ORDER BY h.placed_at, h.id
    """
).bindparams(bindparam("job_ids", type_=ARRAY(Uuid)), bindparam("order_ids", type_=ARRAY(Uuid)))


class HoldKind(StrEnum):
    """What a hold names."""

    JOB = "job"  # by its id
    PATIENT_REF = "patient_ref"  # all that is of a patient, by the pseudonym
    ACCESSION_NUMBER = "accession_number"  # an order and its jobs


class LegalHoldError(ConflictError):
    """A legal hold covers some of it: nothing was erased."""

    code = "legal_hold"


@dataclass(frozen=True)
class Hold:
    """A hold as it stood when it was read; `released_at` is None while it holds."""

    id: uuid.UUID
    tenant: str
    kind: HoldKind
    value: str
    reason: str
    placed_by: str
    placed_at: dt.datetime
    released_by: str | None
    released_at: dt.datetime | None


def alone(session: Session) -> None:
    """Wait until nobody else removes or places a hold, and keep them waiting until the end.

    What is read after it, and not in the same statement, is as they left it.
    """
    session.execute(select(func.pg_advisory_xact_lock(_LOCK)))


def place(
    sessions: Sessions, kind: HoldKind, value: str, *, tenant: str, reason: str, actor: str
) -> Hold:
    """Place a hold, for a patient or an accession number also on what has yet to come.

    Several may cover the same.

    Args:
        sessions: The database.
        kind: What `value` names.
        value: The id of a job, a patient's pseudonym or an accession number.
        tenant: Whose data are held.
        reason: A code, such as the number of a matter; never anything of a patient.
        actor: Who places it, as in `audit.record`.

    Raises:
        BadRequestError: The value is no id of a job.
        NotFoundError: The tenant has no such job.
        JobErasedError: The job was erased.
        JobPurgedError: The job was purged.
    """
    job_id = _job_id(value) if kind is HoldKind.JOB else None
    hold_id = uuid.uuid4()
    row = LegalHoldRow(
        id=hold_id,
        tenant=tenant,
        kind=kind,
        value=str(job_id or value),
        reason=reason,
        placed_by=actor,
    )
    with sessions.begin() as session:
        alone(session)
        # A hold that covers nothing would be found out when it is too late.
        if job_id is not None and not _is_job_of(session, job_id, tenant):
            raise unknown_job_in(session, job_id, tenant=tenant)
        session.add(row)
        told = {"hold": str(hold_id), "tenant": tenant, "kind": kind, "reason": reason}
        audit.record(session, actor, "hold.placed", job_id, **told)
    return get_hold(sessions, hold_id)


def release(sessions: Sessions, hold_id: uuid.UUID, *, actor: str) -> Hold:
    """Release a hold; what it covered is due again unless another hold covers it.

    Raises:
        NotFoundError: There is no such hold.
        ConflictError: It was released before.
    """
    statement = (
        update(LegalHoldRow)
        .where(LegalHoldRow.id == hold_id, LegalHoldRow.released_at.is_(None))
        .values(released_at=func.clock_timestamp(), released_by=actor)
        .returning(LegalHoldRow.kind)
    )
    with sessions.begin() as session:
        kind = session.scalar(statement)
        if kind is not None:
            audit.record(session, actor, "hold.released", None, hold=str(hold_id), kind=kind)
    found = get_hold(sessions, hold_id)
    if kind is None:
        raise ConflictError(f"Hold {hold_id} was released before.")
    return found


def get_hold(sessions: Sessions, hold_id: uuid.UUID) -> Hold:
    """Read a hold.

    Raises:
        NotFoundError: There is no such hold.
    """
    for row in execute(sessions, select(*_COLUMNS).where(_COLUMNS.id == hold_id)):
        return _hold_of(row)
    raise NotFoundError(f"There is no hold {hold_id}.")


def list_holds(sessions: Sessions, *, released: bool = False, limit: int = 1000) -> list[Hold]:
    """The newest holds, newest first; with `released` those that hold no more too."""
    statement = select(*_COLUMNS)
    if not released:
        statement = statement.where(_COLUMNS.released_at.is_(None))
    newest = statement.order_by(_COLUMNS.placed_at.desc(), _COLUMNS.id.desc()).limit(limit)
    return [_hold_of(row) for row in execute(sessions, newest)]


def holding(
    session: Session,
    tenant: str,
    patient_ref: str,
    job_ids: Sequence[uuid.UUID],
    order_ids: Sequence[uuid.UUID],
) -> list[uuid.UUID]:
    """The holds that cover a tenant's patient, or one of its jobs and orders; the oldest first."""
    values = {
        "tenant": tenant,
        "patient_ref": patient_ref,
        "job_ids": job_ids,
        "order_ids": order_ids,
    }
    return list(session.scalars(_HOLDING, values))


def forget(
    session: Session,
    tenant: str,
    patient_refs: Collection[str],
    accession_numbers: Collection[str],
    *,
    placed_until: dt.datetime | ColumnElement[dt.datetime],
    actor: str,
) -> None:
    """Have the holds on an erased patient name nobody; that they were there stays.

    They were released, or nothing would have been erased. A restored one that is not, as it was
    released after the backup, is released again.

    Args:
        session: The open transaction of who is `alone`.
        tenant: Whose data were erased.
        patient_refs: The patient's pseudonyms.
        accession_numbers: The patient's orders.
        placed_until: Holds that were placed later are left.
        actor: Who erases, as in `audit.record`.
    """
    row = LegalHoldRow
    of_patient = and_(row.kind == HoldKind.PATIENT_REF, row.value.in_(patient_refs))
    of_order = and_(row.kind == HoldKind.ACCESSION_NUMBER, row.value.in_(accession_numbers))
    session.execute(
        update(row)
        .where(row.tenant == tenant, or_(of_patient, of_order), row.placed_at <= placed_until)
        .values(
            value="",
            released_at=func.coalesce(row.released_at, func.clock_timestamp()),
            released_by=func.coalesce(row.released_by, actor),
        )
    )


def _is_job_of(session: Session, job_id: uuid.UUID, tenant: str) -> bool:
    wanted = select(JobRow.id).where(JobRow.id == job_id, JobRow.tenant == tenant)
    return session.scalar(wanted) is not None


def _job_id(value: str) -> uuid.UUID:
    try:
        return uuid.UUID(value)
    except ValueError as error:
        raise BadRequestError("A hold on a job names its id.") from error


def _hold_of(row: Any) -> Hold:
    values = {name: getattr(row, name) for name in Hold.__dataclass_fields__}
    return Hold(**{**values, "kind": HoldKind(row.kind)})
