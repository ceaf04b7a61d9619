"""The rows of runs within a transaction: locked, moved, told of.

Whoever changes a run or tells of it has its row locked, so that its events are numbered in order.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from shared import audit
from shared.db.leases import locked
from shared.db.models import TrainingEventRow, TrainingRunRow
from shared.trainings.states import EventKind, Told, TrainingClaim, TrainingRun, TrainingStatus

_SEEN = (TrainingStatus.SUCCEEDED, TrainingStatus.FAILED, TrainingStatus.CANCELLED)
"""What the audit trail has of a run besides its request."""


def held_row(session: Session, held: TrainingClaim) -> TrainingRunRow | None:
    """The locked row of a claim; None where the claim was lost."""
    return session.scalar(
        locked(TrainingRunRow, held.run_id, worker=held.worker, attempt=held.attempt)
    )


def move(
    session: Session, row: TrainingRunRow, to: TrainingStatus, *, actor: str, **values: Any
) -> None:
    """Put a run elsewhere, and tell of it; one that leaves `running` is in nobody's hands.

    Args:
        session: The open transaction.
        row: The locked row.
        to: Where it stands from now on.
        actor: Who moves it, as in `audit.record`.
        values: Other columns to set with it.
    """
    if to is not TrainingStatus.RUNNING:
        values |= {"worker": None, "lease_expires_at": None, "seconds_left": None}
    if to.is_final:
        values["finished_at"] = func.clock_timestamp()
    row.status = to
    for name, value in values.items():
        setattr(row, name, value)
    document: dict[str, Any] = {"status": to, "attempts": row.attempts}
    if row.error_code is not None:
        document["error"] = {"code": row.error_code, "detail": row.error_detail}
    tell(session, row, [Told(EventKind.STATUS, f"status/{row.last_event + 1}", document)])
    if to in _SEEN:
        audit.record(session, actor, f"training.{to}", training=str(row.id))


def tell(session: Session, row: TrainingRunRow, told: Iterable[Told]) -> None:
    """Add events of a locked run; one whose key is there already is left out."""
    rows = [
        {
            "run_id": row.id,
            "number": row.last_event + index,
            "kind": event.kind,
            "key": event.key,
            "document": event.document,
        }
        for index, event in enumerate(told, start=1)
    ]
    if not rows:
        return
    row.last_event += len(rows)
    session.flush()
    session.execute(insert(TrainingEventRow).values(rows).on_conflict_do_nothing())


def run_of(row: Any) -> TrainingRun:
    """A run as an entity."""
    values = {name: getattr(row, name) for name in TrainingRun.__dataclass_fields__}
    status = TrainingStatus(row.status)
    return TrainingRun(**{**values, "status": status, "seeds": tuple(row.seeds)})
