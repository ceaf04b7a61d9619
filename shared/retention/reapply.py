"""Erases again what a restored backup has brought back."""

from __future__ import annotations

import datetime as dt
import uuid
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import SecretStr
from sqlalchemy import CompoundSelect, func, select, union
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from shared import audit
from shared.db.models import ErasureRow, JobRow, LegalHoldRow, OrderRow
from shared.db.session import Sessions
from shared.retention.erase import erase
from shared.retention.erasures import ErasureStatus, digest_of
from shared.retention.holds import HoldKind, alone, forget
from shared.retention.jobs import give_up_objects
from shared.retention.ledger import Entry
from shared.retention.objects import remove_due
from shared.retention.subjects import Subjects, names_of, subjects_of
from shared.storage import ObjectStore

ACTOR = "operator"


@dataclass(frozen=True)
class Reapplied:
    """How many erasures were gone through, and rows that were removed again, by table."""

    erasures: int
    counts: dict[str, int]


def reapply(
    sessions: Sessions,
    storage: ObjectStore,
    entries: Sequence[Entry],
    *,
    secret: SecretStr | None,
    again_after: dt.timedelta,
) -> Reapplied:
    """Erase again whatever of past erasures is there; safe to repeat.

    Holds are not asked: a restore brings back those that were released before the erasure too.

    Args:
        sessions: The restored database.
        storage: The object store.
        entries: The ledger.
        secret: That of pseudonyms. With it, jobs and orders are also found by their patient: those
            that were purged before the erasure, and are back.
        again_after: As in `objects.give_up`.

    Raises:
        StorageUnavailableError: The store does not answer; the call is to be repeated.
    """
    counts: Counter[str] = Counter()
    refs = _refs_by_digest(sessions, secret)
    for entry in entries:
        with sessions.begin() as session:
            alone(session)
            counts.update(_again(session, entry, refs, again_after))
    remove_due(sessions, storage)
    return Reapplied(len(entries), dict(counts))


def _again(
    session: Session, entry: Entry, refs: dict[str, list[str]], again_after: dt.timedelta
) -> dict[str, int]:
    _remember(session, entry)
    # The store alone may have been restored: then objects are back that no row leads to.
    give_up_objects(session, entry.job_ids, again_after=again_after)
    found = _found_again(session, entry, refs)
    _forget_holds(session, entry, found, refs)
    if not (found.job_ids or found.order_ids):
        return {}
    erased = erase(session, found, entry.id, actor=ACTOR, again_after=again_after)
    told = {"erasure": str(entry.id), "counts": erased.counts}
    jobs = [str(one) for one in found.job_ids]
    audit.record(session, ACTOR, "erasure.reapplied", None, **told, jobs=jobs)
    return erased.counts


def _forget_holds(
    session: Session, entry: Entry, found: Subjects, refs: dict[str, list[str]]
) -> None:
    patient_refs, accession_numbers = names_of(session, found)
    patient_refs.update(refs.get(entry.ref_digest or "", []))
    forget(
        session,
        entry.tenant,
        patient_refs,
        accession_numbers,
        placed_until=entry.requested_at,
        actor=ACTOR,
    )


def _found_again(session: Session, entry: Entry, refs: dict[str, list[str]]) -> Subjects:
    """What is of an erasure by its ids, or by its patient and from before it."""
    jobs = set(session.scalars(select(JobRow.id).where(JobRow.id.in_(entry.job_ids))))
    orders = set(session.scalars(select(OrderRow.id).where(OrderRow.id.in_(entry.order_ids))))
    for patient_ref in refs.get(entry.ref_digest or "", []):
        of_patient = subjects_of(session, entry.tenant, patient_ref)
        jobs |= _before(session, JobRow.id, JobRow.submitted_at, of_patient.job_ids, entry)
        orders |= _before(session, OrderRow.id, OrderRow.created_at, of_patient.order_ids, entry)
    return Subjects(tuple(sorted(jobs)), tuple(sorted(orders)))


def _before(
    session: Session, row_id: object, made_at: object, ids: Sequence[uuid.UUID], entry: Entry
) -> set[uuid.UUID]:
    wanted = select(row_id).where(row_id.in_(ids), made_at <= entry.requested_at)  # type: ignore[attr-defined, call-overload, operator]
    return set(session.scalars(wanted))


def _refs_by_digest(sessions: Sessions, secret: SecretStr | None) -> dict[str, list[str]]:
    if not secret:
        return {}
    held = select(LegalHoldRow.value).where(LegalHoldRow.kind == HoldKind.PATIENT_REF)
    refs: CompoundSelect[str | None] = union(
        select(JobRow.patient_ref), select(OrderRow.patient_ref), held
    )
    by_digest: dict[str, list[str]] = defaultdict(list)
    with sessions() as session:
        for patient_ref in session.scalars(refs):
            if patient_ref is not None and (digest := digest_of(patient_ref, secret)):
                by_digest[digest].append(patient_ref)
    return by_digest


def _remember(session: Session, entry: Entry) -> None:
    """Have the row of an erasure say that it was done.

    A backup may have it queued: carried out once more it would find less, and so write less of it
    into the ledger.
    """
    done = {
        "ref_digest": entry.ref_digest,
        "job_ids": list(entry.job_ids),
        "order_ids": list(entry.order_ids),
        "status": ErasureStatus.DONE,
        "patient_ref": None,
        "finished_at": func.clock_timestamp(),
    }
    told = entry.model_dump(exclude={"ref_digest", "job_ids", "order_ids"})
    row = insert(ErasureRow).values(**told, **done)
    is_queued = ErasureRow.status == ErasureStatus.QUEUED
    session.execute(row.on_conflict_do_update(index_elements=["id"], set_=done, where=is_queued))
