"""The queue of training runs: a row each in PostgreSQL.

A run takes minutes to days. No message of a broker is held that long; a row is held by a lease.
Here a run is asked for, read and taken back; `claim.py` has what a trainer does with it.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from sqlalchemy import bindparam, select

from shared import audit
from shared.datasets.queries import get_trainable
from shared.db.models import TrainingEventRow, TrainingRunRow
from shared.db.session import Sessions, execute
from shared.errors import ConflictError, NotFoundError
from shared.trainings.request import TrainingRequest
from shared.trainings.rows import move, run_of
from shared.trainings.states import (
    EventKind,
    TrainingEvent,
    TrainingRun,
    TrainingStatus,
)

_READ = select(*TrainingRunRow.__table__.c).where(TrainingRunRow.id == bindparam("run_id"))
_STATUS = select(TrainingRunRow.status).where(TrainingRunRow.id == bindparam("run_id"))


def request(sessions: Sessions, asked: TrainingRequest, *, actor: str) -> TrainingRun:
    """Queue a run.

    Args:
        sessions: The database.
        asked: What is to be trained; its base has been checked.
        actor: Who asks, as in `audit.record`.

    Raises:
        NotFoundError: There is no such data set.
        DatasetNotReadyError: It is no version.
        DatasetLockedError: It is a locked test set.
    """
    # A version never changes, so that this still holds when the run begins.
    get_trainable(sessions, asked.dataset_id)
    values = asked.model_dump(mode="json", exclude={"dataset_id", "overrides"})
    overrides = asked.overrides.model_dump(exclude_none=True)
    run_id = uuid.uuid4()
    with sessions.begin() as session:
        row = TrainingRunRow(
            id=run_id,
            dataset_id=asked.dataset_id,
            overrides=overrides,
            last_event=0,
            attempts=0,
            **values,
        )
        session.add(row)
        session.flush()
        move(session, row, TrainingStatus.QUEUED, actor=actor)
        audit.record(
            session,
            actor,
            "training.requested",
            training=str(run_id),
            architecture=asked.architecture,
            dataset=str(asked.dataset_id),
        )
    return get_training(sessions, run_id)


def get_training(sessions: Sessions, run_id: uuid.UUID) -> TrainingRun:
    """Read a run.

    Raises:
        NotFoundError: There is no such run.
    """
    rows = execute(sessions, _READ, {"run_id": run_id})
    if not rows:
        raise NotFoundError(f"There is no training {run_id}.")
    return run_of(rows[0])


def get_status(sessions: Sessions, run_id: uuid.UUID) -> TrainingStatus:
    """Read the status alone; the cheap read that listening repeats.

    Raises:
        NotFoundError: There is no such run.
    """
    rows = execute(sessions, _STATUS, {"run_id": run_id})
    if not rows:
        raise NotFoundError(f"There is no training {run_id}.")
    return TrainingStatus(rows[0].status)


def list_trainings(
    sessions: Sessions, *, status: TrainingStatus | None = None, limit: int
) -> list[TrainingRun]:
    """The newest runs, of one status or of any."""
    statement = select(*TrainingRunRow.__table__.c)
    if status is not None:
        statement = statement.where(TrainingRunRow.status == status)
    newest = statement.order_by(TrainingRunRow.requested_at.desc(), TrainingRunRow.id.desc())
    return [run_of(row) for row in execute(sessions, newest.limit(limit))]


def events(
    sessions: Sessions,
    run_id: uuid.UUID,
    *,
    after: int = 0,
    kinds: Sequence[EventKind] = tuple(EventKind),
    limit: int | None = None,
) -> list[TrainingEvent]:
    """What was told of a run, in order, from behind the event with the number `after`."""
    event = TrainingEventRow
    statement = (
        select(event.number, event.kind, event.document, event.at)
        .where(event.run_id == run_id, event.number > after, event.kind.in_(kinds))
        .order_by(event.number)
        .limit(limit)
    )
    return [
        TrainingEvent(row.number, EventKind(row.kind), row.document, row.at)
        for row in execute(sessions, statement)
    ]


def cancel(sessions: Sessions, run_id: uuid.UUID, *, actor: str) -> TrainingRun:
    """Take a run back; its trainer, if one has it, finds its claim lost and stops it.

    Raises:
        NotFoundError: There is no such run.
        ConflictError: It has ended.
    """
    with sessions.begin() as session:
        row = session.get(TrainingRunRow, run_id, with_for_update=True)
        if row is None:
            raise NotFoundError(f"There is no training {run_id}.")
        if TrainingStatus(row.status).is_final:
            raise ConflictError(f"Training {run_id} is {row.status}.")
        move(session, row, TrainingStatus.CANCELLED, actor=actor)
    return get_training(sessions, run_id)
