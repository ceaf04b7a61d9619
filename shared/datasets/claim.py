"""A trainer takes imports, under a lease that it renews while it works on them.

All times are of the database's clock.
"""

from __future__ import annotations

import datetime as dt
import uuid
from enum import StrEnum
from typing import Any

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from shared import audit
from shared.datasets.states import DatasetClaim, DatasetSource, DatasetStatus, Imported
from shared.db.models import DatasetRow
from shared.db.session import Sessions, execute
from shared.verdict import verdict_on

ABANDONED = "import_abandoned"
"""The code of one that was tried as often as allowed."""

_BACKOFF_SECONDS = 5.0
_ENDINGS = int.from_bytes(b"datasets") >> 1
"""The advisory lock under which versions are told from each other; any number of 63 bits."""

# A time further ahead than any was written before the clock was set back, and is over too.
_CLAIM = text(
    """
    WITH spent AS (
        SELECT id FROM datasets
        WHERE status = 'running' AND failures + 1 >= :max_attempts
            AND NOT lease_expires_at BETWEEN clock_timestamp()
                AND clock_timestamp() + 2 * CAST(:lease AS interval)
        FOR UPDATE SKIP LOCKED
    ), given_up AS (
        UPDATE datasets SET status = 'failed', worker = NULL, lease_expires_at = NULL,
            failures = failures + 1, finished_at = clock_timestamp(), error_code = :abandoned,
            error_detail = 'The trainer of its last attempt fell silent.'
        FROM spent WHERE datasets.id = spent.id
        RETURNING datasets.id
    ), event AS (
        INSERT INTO audit_events (actor, action, details)
        SELECT :actor, 'dataset.failed', jsonb_build_object('dataset_id', id, 'code', :abandoned)
        FROM given_up
    ), taken AS (
        SELECT id FROM datasets
        WHERE finished_at IS NULL AND (
            status = 'queued' AND NOT (
                due_at > clock_timestamp()
                AND due_at <= clock_timestamp() + CAST(:backoff AS interval)
            )
            OR status = 'running' AND failures + 1 < :max_attempts
                AND NOT lease_expires_at BETWEEN clock_timestamp()
                    AND clock_timestamp() + 2 * CAST(:lease AS interval)
        )
        ORDER BY due_at LIMIT 1
        FOR UPDATE SKIP LOCKED
    )
    UPDATE datasets SET status = 'running', worker = :worker, attempts = attempts + 1,
        lease_expires_at = clock_timestamp() + CAST(:lease AS interval),
        failures = failures + CASE status WHEN 'running' THEN 1 ELSE 0 END,
        started_at = COALESCE(started_at, clock_timestamp())
    FROM taken WHERE datasets.id = taken.id
    RETURNING datasets.id, source, locked, tenant, attempts, failures, base_id,
        upload_sha256, reviews_until, COALESCE(
            (
                SELECT since.reviews_until FROM datasets AS since
                WHERE since.id = datasets.reviews_since_id
            ), 0
        ) AS reviews_after
    """
)


class Completion(StrEnum):
    """What became of a finished import."""

    READY = "ready"
    LOST = "lost"  # another trainer has it
    OUTDATED = "outdated"  # a set became ready meanwhile that it was not compared with


def claim(
    sessions: Sessions, *, worker: str, lease_seconds: float, max_attempts: int
) -> DatasetClaim | None:
    """Claim the import that has waited longest, for one attempt; None: nothing waits.

    One whose trainer fell silent is taken from it, which counts as a failure. With the last that is
    allowed it is given up as failed, in the same statement.
    """
    values = {
        "worker": worker,
        "actor": _actor(worker),
        "abandoned": ABANDONED,
        "lease": dt.timedelta(seconds=lease_seconds),
        "backoff": dt.timedelta(seconds=_BACKOFF_SECONDS),
        "max_attempts": max_attempts,
    }
    for row in execute(sessions, _CLAIM, values):
        return DatasetClaim(
            id=row.id,
            source=DatasetSource(row.source),
            locked=row.locked,
            tenant=row.tenant,
            worker=worker,
            attempt=row.attempts,
            failures=row.failures,
            base_id=row.base_id,
            reviews_after=row.reviews_after,
            reviews_until=row.reviews_until,
            upload_sha256=row.upload_sha256,
        )
    return None


def renew(sessions: Sessions, held: DatasetClaim, *, lease_seconds: float) -> bool:
    """Extend a lease; False where the claim was lost."""
    lease = func.clock_timestamp() + dt.timedelta(seconds=lease_seconds)
    with sessions.begin() as session:
        return _change(session, held, lease_expires_at=lease)


def complete(sessions: Sessions, held: DatasetClaim, found: Imported) -> Completion:
    """Make an import whose images are in the object store a version.

    One after the other: of a training set and a test set that become ready at the same time, the
    later one has been compared with the earlier, or is told that it was not.
    """
    with sessions.begin() as session:
        session.execute(select(func.pg_advisory_xact_lock(_ENDINGS)))
        if not _opposite(session, held) <= found.compared:
            return Completion.OUTDATED
        ready = _left(DatasetStatus.READY, ended=True)
        version = found.record["version"]
        if not _change(
            session,
            held,
            **ready,
            version=version,
            record=found.record,
            statistics=found.statistics,
            faults=found.faults,
            lineage=found.lineage,
            leaks=found.leaks,
        ):
            return Completion.LOST
        _tell(session, held, "dataset.ready", version=version)
        return Completion.READY


def give_up(sessions: Sessions, held: DatasetClaim, error: Exception, *, max_attempts: int) -> None:
    """End an attempt that raised, as `shared.verdict` has it."""
    verdict = verdict_on(
        error, failures=held.failures, max_attempts=max_attempts, abandoned=ABANDONED
    )
    failures = held.failures + int(verdict.counts)
    if verdict.code is None:
        hand_back(sessions, held, delay_seconds=_BACKOFF_SECONDS, failures=failures)
        return
    failed = _left(DatasetStatus.FAILED, ended=True)
    why = {"error_code": verdict.code, "error_detail": verdict.detail, "failures": failures}
    with sessions.begin() as session:
        if _change(session, held, **failed, **why):
            _tell(session, held, "dataset.failed", code=verdict.code)


def hand_back(
    sessions: Sessions, held: DatasetClaim, *, delay_seconds: float = 0, **values: Any
) -> None:
    """Put a claimed import back into the queue, for whoever takes it after the delay."""
    due = func.clock_timestamp() + dt.timedelta(seconds=delay_seconds)
    with sessions.begin() as session:
        back = _left(DatasetStatus.QUEUED, ended=False)
        _change(session, held, **back, due_at=due, **values)


def _left(status: DatasetStatus, *, ended: bool) -> dict[str, Any]:
    """The columns of an import that leaves the hands of its trainer."""
    finished = {"finished_at": func.clock_timestamp()} if ended else {}
    return {"status": status, "worker": None, "lease_expires_at": None, **finished}


def _change(session: Session, held: DatasetClaim, **values: Any) -> bool:
    """One guarded UPDATE; False where the claim was lost."""
    statement = (
        update(DatasetRow)
        .where(
            DatasetRow.id == held.id,
            DatasetRow.worker == held.worker,
            DatasetRow.attempts == held.attempt,
        )
        .values(**values)
        .returning(DatasetRow.id)
        .execution_options(synchronize_session=False)
    )
    return session.execute(statement).first() is not None


def _opposite(session: Session, held: DatasetClaim) -> set[uuid.UUID]:
    """The versions that it must have been compared with."""
    return set(
        session.scalars(
            select(DatasetRow.id).where(
                DatasetRow.status == DatasetStatus.READY,
                DatasetRow.locked != held.locked,
                DatasetRow.withdrawn_at.is_(None),
            )
        )
    )


def _tell(session: Session, held: DatasetClaim, action: str, **details: str) -> None:
    audit.record(session, _actor(held.worker), action, None, dataset_id=str(held.id), **details)


def _actor(worker: str) -> str:
    return f"worker:{worker}"
