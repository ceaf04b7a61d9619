"""A trainer takes gates, under a lease that it renews while it judges.

All times are of the database's clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import and_, func, or_
from sqlalchemy.orm import Session

from shared import audit
from shared.db.leases import (
    BACKOFF_SECONDS,
    NOW,
    in_future,
    is_due,
    is_silent,
    locked,
    unfinished,
)
from shared.db.models import GateRow
from shared.db.session import Sessions
from shared.registry.states import GateClaim, GateStatus
from shared.verdict import verdict_on

ABANDONED = "gate_abandoned"
"""The code of one that was tried as often as allowed."""


def claim(
    sessions: Sessions, *, worker: str, lease_seconds: float, max_attempts: int
) -> GateClaim | None:
    """Claim the gate that has waited longest, for one attempt; None: nothing waits.

    One whose trainer fell silent is taken from it, which counts as a failure. With the last that is
    allowed it is given up as failed.
    """
    with sessions.begin() as session:
        silent = is_silent(GateRow, lease_seconds)
        spent = GateRow.failures + 1 >= max_attempts
        for row in session.scalars(unfinished(GateRow, and_(silent, spent))):
            row.failures += 1
            detail = "The trainer of its last attempt fell silent."
            _fail(session, row, ABANDONED, detail, worker=worker)
        waiting = unfinished(GateRow, or_(is_due(GateRow), and_(silent, ~spent)))
        found = session.scalar(waiting.order_by(GateRow.due_at).limit(1))
        return None if found is None else _taken(found, worker, lease_seconds)


def renew(sessions: Sessions, held: GateClaim, *, lease_seconds: float) -> bool:
    """Extend a lease; False where the claim was lost."""
    with sessions.begin() as session:
        row = _held_row(session, held)
        if row is None:
            return False
        row.lease_expires_at = in_future(lease_seconds)
        return True


def complete(sessions: Sessions, held: GateClaim, report: Mapping[str, Any]) -> bool:
    """End a gate with its report; False where the claim was lost.

    Args:
        sessions: The database.
        held: The claim.
        report: What was judged: `passed`, `reasons`, and `policy` with the `sha256` of its file.
    """
    # Whatever is not True itself is no verdict to promote by.
    status = GateStatus.PASSED if report["passed"] is True else GateStatus.REFUSED
    with sessions.begin() as session:
        row = _held_row(session, held)
        if row is None:
            return False
        _leave(row, status, report=dict(report), policy_sha256=report["policy"]["sha256"])
        _tell(session, row, held.worker, reasons=list(report["reasons"]))
        return True


def give_up(sessions: Sessions, held: GateClaim, error: Exception, *, max_attempts: int) -> None:
    """End an attempt that raised, as `shared.verdict` has it."""
    with sessions.begin() as session:
        row = _held_row(session, held)
        if row is None:
            return
        verdict = verdict_on(
            error, failures=row.failures, max_attempts=max_attempts, abandoned=ABANDONED
        )
        row.failures += int(verdict.counts)
        if verdict.code is None:
            _leave(row, GateStatus.QUEUED, due_at=in_future(BACKOFF_SECONDS))
        else:
            _fail(session, row, verdict.code, verdict.detail, worker=held.worker)


def hand_back(sessions: Sessions, held: GateClaim) -> None:
    """Put a gate back into the queue, for whoever takes it; it counts nothing."""
    with sessions.begin() as session:
        row = _held_row(session, held)
        if row is not None:
            _leave(row, GateStatus.QUEUED, due_at=NOW)


def _taken(row: GateRow, worker: str, lease_seconds: float) -> GateClaim:
    row.failures += row.status == GateStatus.RUNNING
    row.attempts += 1
    row.status = GateStatus.RUNNING
    row.worker = worker
    row.lease_expires_at = in_future(lease_seconds)
    row.started_at = func.coalesce(GateRow.started_at, NOW)
    return GateClaim(
        row.id,
        row.name,
        row.version,
        row.champion,
        row.dataset_id,
        worker,
        row.attempts,
        row.failures,
    )


def _held_row(session: Session, held: GateClaim) -> GateRow | None:
    """The locked row of a claim; None where the claim was lost."""
    return session.scalar(locked(GateRow, held.id, worker=held.worker, attempt=held.attempt))


def _fail(session: Session, row: GateRow, code: str, detail: str | None, *, worker: str) -> None:
    _leave(row, GateStatus.FAILED, error_code=code, error_detail=detail)
    _tell(session, row, worker, code=code)


def _leave(row: GateRow, status: GateStatus, **values: Any) -> None:
    """Take a gate out of the hands of its trainer."""
    finished = {"finished_at": NOW} if status.is_final else {}
    left = {"status": status, "worker": None, "lease_expires_at": None, **finished}
    for name, value in {**left, **values}.items():
        setattr(row, name, value)


def _tell(session: Session, row: GateRow, worker: str, **details: object) -> None:
    told = {"gate": str(row.id), "model": f"{row.name}@{row.version}", "champion": row.champion}
    audit.record(session, f"worker:{worker}", f"gate.{row.status}", None, **told, **details)
