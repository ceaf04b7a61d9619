"""Figures of training runs, for metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select, true

from shared.db.models import TrainingEventRow, TrainingRunRow
from shared.db.session import Sessions, execute
from shared.db.standing import Standing, standings
from shared.trainings.states import EventKind, TrainingStatus

_newest_epoch = (
    select(TrainingEventRow.document)
    .where(TrainingEventRow.run_id == TrainingRunRow.id, TrainingEventRow.kind == EventKind.EPOCH)
    .order_by(TrainingEventRow.number.desc())
    .limit(1)
    .lateral()
)
_newest_event = (
    select(TrainingEventRow.at)
    .where(TrainingEventRow.run_id == TrainingRunRow.id)
    .order_by(TrainingEventRow.number.desc())
    .limit(1)
    .lateral()
)
_told_at = func.coalesce(_newest_event.c.at, TrainingRunRow.started_at)
_RUNNING = (
    select(
        TrainingRunRow.id,
        TrainingRunRow.architecture,
        TrainingRunRow.progress,
        _newest_epoch.c.document,
        func.extract("epoch", func.clock_timestamp() - _told_at).label("silent_seconds"),
    )
    .outerjoin(_newest_epoch, true())
    .outerjoin(_newest_event, true())
    .where(TrainingRunRow.finished_at.is_(None), TrainingRunRow.status == TrainingStatus.RUNNING)
)


@dataclass(frozen=True)
class Running:
    """A run in a trainer's hands.

    Attributes:
        run: Its id.
        architecture: What it trains.
        progress: Between 0 and 1.
        silent_seconds: Since it last told of an epoch, a line or a change.
        epoch: The newest epoch that has ended, from 1; None before the first.
        val_accuracy: Its accuracy on the validation part, between 0 and 1; None before the first.
    """

    run: str
    architecture: str
    progress: float
    silent_seconds: float
    epoch: int | None
    val_accuracy: float | None


def training_standings(sessions: Sessions) -> list[Standing]:
    """Runs by status, with the age of the oldest request."""
    return standings(sessions, TrainingRunRow, TrainingRunRow.requested_at, TrainingStatus)


def running_trainings(sessions: Sessions) -> list[Running]:
    """Each run that a trainer has, with the figures of its newest epoch."""
    return [_running(row) for row in execute(sessions, _RUNNING)]


def _running(row: Any) -> Running:
    figures: dict[str, Any] = row.document or {}
    return Running(
        run=str(row.id),
        architecture=row.architecture,
        progress=row.progress,
        silent_seconds=float(row.silent_seconds),
        epoch=figures.get("epoch"),
        val_accuracy=figures.get("val_accuracy"),
    )
