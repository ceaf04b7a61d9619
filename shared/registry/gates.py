"""The queue of gates, a row each in PostgreSQL: here one is asked for and read.

`gate_claim.py` has what a trainer does with it.
"""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared import audit
from shared.datasets.queries import get_dataset, get_usable, ready_datasets
from shared.db.models import GateRow
from shared.db.session import Sessions, execute
from shared.db.standing import Standing, standings
from shared.errors import ConflictError, NotFoundError
from shared.models.registry import ModelVersion
from shared.registry.states import Gate, GateStatus, NoLockedTestSetError

_READ = select(*GateRow.__table__.c)
_NEWEST_FIRST = (GateRow.requested_at.desc(), GateRow.id.desc())


def request_gate(
    sessions: Sessions,
    version: ModelVersion,
    *,
    champion: str | None,
    dataset_id: uuid.UUID | None,
    actor: str,
) -> Gate:
    """Ask for a version to be judged.

    Args:
        sessions: The database.
        version: The version.
        champion: What it is compared with, `NAME@VERSION`; None: with nothing.
        dataset_id: A locked test set; None: the newest one that is ready.
        actor: Who asks, as in `audit.record`.

    Raises:
        NotFoundError: There is no such data set.
        DatasetNotReadyError: It is no version.
        DatasetWithdrawnError: An image of it was erased.
        ConflictError: It is no locked test set.
        NoLockedTestSetError: There is none to choose.
    """
    if dataset_id is None:
        dataset_id = _newest_test_set(sessions)
    else:
        _check_test_set(sessions, dataset_id)
    gate_id = uuid.uuid4()
    row = GateRow(
        id=gate_id,
        name=version.name,
        version=version.version,
        champion=champion,
        dataset_id=dataset_id,
    )
    told = {"model": str(version), "champion": champion, "dataset": str(dataset_id)}
    with sessions.begin() as session:
        session.add(row)
        audit.record(session, actor, "gate.requested", None, gate=str(gate_id), **told)
    return get_gate(sessions, gate_id)


def get_gate(sessions: Sessions, gate_id: uuid.UUID) -> Gate:
    """Read a gate.

    Raises:
        NotFoundError: There is no such gate.
    """
    for row in execute(sessions, _READ.where(GateRow.id == gate_id)):
        return _gate_of(row)
    raise NotFoundError(f"There is no gate {gate_id}.")


def list_gates(
    sessions: Sessions, *, name: str | None = None, version: int | None = None, limit: int
) -> list[Gate]:
    """The newest gates, newest first: of one model, of one version or of any."""
    statement = _READ
    if name is not None:
        statement = statement.where(GateRow.name == name)
    if version is not None:
        statement = statement.where(GateRow.version == version)
    newest = statement.order_by(*_NEWEST_FIRST).limit(limit)
    return [_gate_of(row) for row in execute(sessions, newest)]


def gate_standings(sessions: Sessions) -> list[Standing]:
    """Gates by status, with the age of the oldest request."""
    return standings(sessions, GateRow, GateRow.requested_at, GateStatus)


def newest_gate(session: Session, name: str, version: int) -> Gate | None:
    """The gate of a version that was asked for last, within a transaction; None: none was."""
    wanted = _READ.where(GateRow.name == name, GateRow.version == version)
    row = session.execute(wanted.order_by(*_NEWEST_FIRST).limit(1)).first()
    return None if row is None else _gate_of(row)


def _newest_test_set(sessions: Sessions) -> uuid.UUID:
    locked = ready_datasets(sessions, locked=True)
    if not locked:
        raise NoLockedTestSetError("Import one with `locked=true`.")
    return locked[-1].id


def _check_test_set(sessions: Sessions, dataset_id: uuid.UUID) -> None:
    if not get_dataset(sessions, dataset_id).locked:
        raise ConflictError(f"The data set {dataset_id} is no locked test set.")
    get_usable(sessions, dataset_id)


def _gate_of(row: Any) -> Gate:
    values = {name: getattr(row, name) for name in Gate.__dataclass_fields__}
    return Gate(**{**values, "status": GateStatus(row.status)})
