"""Erases all data of a tenant's patient, in one transaction; then the objects.

All or nothing: where a legal hold covers any of it, nothing is erased. Jobs in any state go. A
worker that has one in hand finds its claim lost; what it stores late is removed a grace later.
"""

from __future__ import annotations

import datetime as dt
import logging
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from shared import audit
from shared.db.models import ErasureRow, JobImageRow, OrderRow
from shared.db.session import Sessions
from shared.jobs.states import locked_in_order
from shared.retention.erasures import (
    Erasure,
    ErasureStatus,
    get_erasure,
    oldest_queued,
)
from shared.retention.holds import alone, forget, holding
from shared.retention.jobs import remove_jobs
from shared.retention.ledger import Entry, strike_entry, write_entry
from shared.retention.objects import remove_due
from shared.retention.subjects import Subjects, names_of, subjects_of
from shared.retention.withdraw import Withdrawn, withdraw
from shared.storage import ObjectStore

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Erased:
    """Rows that were removed, by table, and data sets that were withdrawn."""

    counts: dict[str, int]
    withdrawn: Withdrawn


def carry_out_all(
    sessions: Sessions,
    storage: ObjectStore,
    *,
    again_after: dt.timedelta,
    turned: Callable[[], object] = lambda: None,
) -> int:
    """Carry out the erasures that were asked for, the oldest first; returns how many.

    Args:
        sessions: The database.
        storage: The object store.
        again_after: As in `objects.give_up`.
        turned: Called between batches of objects; what it raises ends the work there.

    Raises:
        StorageUnavailableError: The store does not answer; what is left is done later.
    """
    done = 0
    while (erasure_id := oldest_queued(sessions)) is not None:
        carry_out(sessions, storage, erasure_id, again_after=again_after, turned=turned)
        done += 1
    return done


def carry_out(
    sessions: Sessions,
    storage: ObjectStore,
    erasure_id: uuid.UUID,
    *,
    again_after: dt.timedelta,
    turned: Callable[[], object] = lambda: None,
) -> Erasure:
    """Carry out an erasure unless that was done; safe to repeat, and to be killed in.

    Args:
        sessions: The database.
        storage: The object store.
        erasure_id: The erasure.
        again_after: As in `objects.give_up`.
        turned: Called between batches of objects: all go that are due, of whoever.

    Returns:
        The erasure: done, or refused because a hold was placed since it was asked for.

    Raises:
        StorageUnavailableError: The store does not answer. Either nothing was erased, or the rows
            were, and the objects are removed by whoever calls next.
    """
    with sessions.begin() as session:
        alone(session)
        row = session.get(ErasureRow, erasure_id, with_for_update=True)
        if row is not None and row.patient_ref is not None:
            _carry_out(session, storage, row, row.patient_ref, again_after)
    remove_due(sessions, storage, turned=turned)
    return get_erasure(sessions, erasure_id)


def _carry_out(
    session: Session,
    storage: ObjectStore,
    row: ErasureRow,
    patient_ref: str,
    again_after: dt.timedelta,
) -> None:
    found = subjects_of(session, row.tenant, patient_ref)
    row.status, row.finished_at = ErasureStatus.DONE, func.clock_timestamp()
    row.patient_ref = None
    told = {"erasure": str(row.id), "tenant": row.tenant, "reason": row.reason}
    if holds := holding(session, row.tenant, patient_ref, found.job_ids, found.order_ids):
        row.status, row.hold_ids = ErasureStatus.REFUSED, holds
        held = [str(one) for one in holds]
        audit.record(session, row.requested_by, "erasure.refused", None, **told, holds=held)
        # An attempt that lost its commit has left an entry: what is held now must not be erased
        # by it after a restore, which asks no holds.
        strike_entry(storage, row.id)
        return
    _, accession_numbers = names_of(session, found)
    forget(
        session,
        row.tenant,
        {patient_ref},
        accession_numbers,
        placed_until=func.clock_timestamp(),
        actor=row.requested_by,
    )
    erased = erase(session, found, row.id, actor=row.requested_by, again_after=again_after)
    withdrawn = erased.withdrawn
    row.counts = erased.counts
    row.job_ids, row.order_ids = list(found.job_ids), list(found.order_ids)
    row.dataset_ids, row.models = list(withdrawn.dataset_ids), list(withdrawn.models)
    audit.record(
        session,
        row.requested_by,
        "erasure.done",
        None,
        **told,
        counts=erased.counts,
        jobs=[str(one) for one in found.job_ids],
        orders=[str(one) for one in found.order_ids],
        datasets=[str(one) for one in withdrawn.dataset_ids],
    )
    # Before the commit: an erasure that is not in the ledger could not be repeated after a restore.
    write_entry(storage, Entry.of(row))
    _log.info("erased", extra={"erasure": str(row.id), "jobs": len(found.job_ids)})


def erase(
    session: Session,
    found: Subjects,
    erasure_id: uuid.UUID,
    *,
    actor: str,
    again_after: dt.timedelta,
) -> Erased:
    """Remove jobs, orders and what was made of them, in an open transaction."""
    job_ids = _locked(session, found.job_ids)
    hashes = set(session.scalars(select(JobImageRow.sha256).where(JobImageRow.job_id.in_(job_ids))))
    counts = remove_jobs(
        session, job_ids, why="erased", again_after=again_after, erasure_id=erasure_id
    )
    gone = delete(OrderRow).where(OrderRow.id.in_(found.order_ids)).returning(OrderRow.id)
    orders = len(session.scalars(gone).all())
    withdrawn = withdraw(session, hashes, actor=actor, again_after=again_after)
    more = {
        "orders": orders,
        "datasets": len(withdrawn.dataset_ids),
        "training_runs": withdrawn.trainings,
    }
    return Erased({**counts, **{name: count for name, count in more.items() if count}}, withdrawn)


def _locked(session: Session, job_ids: Sequence[uuid.UUID]) -> list[uuid.UUID]:
    return list(session.scalars(locked_in_order(), {"job_ids": list(job_ids)}))
