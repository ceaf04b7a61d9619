"""A trainer takes runs, under a lease that it renews while its child works on them.

All times are of the database's clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import and_, func, or_
from sqlalchemy.orm import Session

from shared.db.leases import BACKOFF_SECONDS, NOW, in_future, is_due, is_silent, unfinished
from shared.db.models import TrainingRunRow
from shared.db.session import Sessions
from shared.registry.versions import register
from shared.trainings.rows import held_row, move, tell
from shared.trainings.states import Told, TrainingClaim, TrainingStatus
from shared.verdict import verdict_on

ABANDONED = "training_abandoned"
"""The code of one that was tried as often as allowed."""


def claim(
    sessions: Sessions, *, worker: str, lease_seconds: float, max_attempts: int
) -> TrainingClaim | None:
    """Claim the run that has waited longest, for one attempt; None: nothing waits.

    One whose trainer fell silent is taken from it, which counts as a failure. With the last that
    is allowed it is given up as failed.
    """
    with sessions.begin() as session:
        silent = is_silent(TrainingRunRow, lease_seconds)
        spent = TrainingRunRow.failures + 1 >= max_attempts
        for row in session.scalars(unfinished(TrainingRunRow, and_(silent, spent))):
            row.failures += 1
            detail = "The trainer of its last attempt fell silent."
            _fail(session, row, ABANDONED, detail, actor=f"worker:{worker}")
        waiting = unfinished(TrainingRunRow, or_(is_due(TrainingRunRow), and_(silent, ~spent)))
        found = session.scalar(waiting.order_by(TrainingRunRow.due_at).limit(1))
        return None if found is None else _taken(session, found, worker, lease_seconds)


def renew(
    sessions: Sessions,
    held: TrainingClaim,
    *,
    lease_seconds: float,
    progress: float,
    seconds_left: float | None = None,
    device: str | None = None,
    told: Sequence[Told] = (),
) -> bool:
    """Extend a lease and tell how far the run is; False where the claim was lost.

    A run that was cancelled is lost to its trainer too.
    """
    with sessions.begin() as session:
        row = held_row(session, held)
        if row is None:
            return False
        row.lease_expires_at = in_future(lease_seconds)
        row.progress = progress
        row.seconds_left = seconds_left
        row.device = device or row.device
        tell(session, row, told)
        return True


def complete(
    sessions: Sessions,
    held: TrainingClaim,
    record: Mapping[str, Any],
    *,
    card: Mapping[str, Any] | None = None,
) -> bool:
    """End a run with its record, and register its version; False where the claim was lost.

    Args:
        sessions: The database.
        held: The claim.
        record: Of the run; `registered` is added: the version, or None.
        card: Of a version whose artefacts are in the object store; None: the run has made none.
    """
    actor = f"worker:{held.worker}"
    with sessions.begin() as session:
        row = held_row(session, held)
        if row is None:
            return False
        model = None
        if card is not None:
            model = register(session, card, training_id=held.run_id, actor=actor)
        ended = {"record": {**record, "registered": model}, "progress": 1.0}
        move(session, row, TrainingStatus.SUCCEEDED, actor=actor, **ended)
        return True


def give_up(
    sessions: Sessions, held: TrainingClaim, error: Exception, *, max_attempts: int
) -> None:
    """End an attempt that raised or crashed, as `shared.verdict` has it."""
    actor = f"worker:{held.worker}"
    with sessions.begin() as session:
        row = held_row(session, held)
        if row is None:
            return
        verdict = verdict_on(
            error, failures=row.failures, max_attempts=max_attempts, abandoned=ABANDONED
        )
        row.failures += int(verdict.counts)
        if verdict.code is None:
            due = in_future(BACKOFF_SECONDS)
            move(session, row, TrainingStatus.QUEUED, actor=actor, due_at=due)
        else:
            _fail(session, row, verdict.code, verdict.detail, actor=actor)


def hand_back(sessions: Sessions, held: TrainingClaim, *, delay_seconds: float = 0) -> None:
    """Put a run back into the queue, for whoever takes it after the delay; it counts nothing."""
    with sessions.begin() as session:
        row = held_row(session, held)
        if row is not None:
            due = in_future(delay_seconds)
            actor = f"worker:{held.worker}"
            move(session, row, TrainingStatus.QUEUED, actor=actor, due_at=due)


def _taken(
    session: Session, row: TrainingRunRow, worker: str, lease_seconds: float
) -> TrainingClaim:
    row.failures += row.status == TrainingStatus.RUNNING
    row.attempts += 1
    move(
        session,
        row,
        TrainingStatus.RUNNING,
        actor=f"worker:{worker}",
        worker=worker,
        lease_expires_at=in_future(lease_seconds),
        started_at=func.coalesce(TrainingRunRow.started_at, NOW),
        seconds_left=None,
    )
    return TrainingClaim(row.id, worker, row.attempts, row.failures)


def _fail(
    session: Session, row: TrainingRunRow, code: str, detail: str | None, *, actor: str
) -> None:
    error = {"error_code": code, "error_detail": detail}
    move(session, row, TrainingStatus.FAILED, actor=actor, **error)
