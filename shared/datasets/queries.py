"""Reads data sets."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Row, case, select
from sqlalchemy.orm import aliased

from shared.datasets.states import (
    DatasetLockedError,
    DatasetNotReadyError,
    DatasetSource,
    DatasetStatus,
    DatasetVersion,
    DatasetWithdrawnError,
    ImportFailure,
)
from shared.db.models import DatasetRow
from shared.db.session import Sessions, execute
from shared.db.standing import Standing, standings
from shared.errors import NotFoundError

_columns = DatasetRow.__table__.c
_DETAILS = (_columns.faults, _columns.lineage, _columns.leaks)
_earliest = aliased(DatasetRow)
_first_of_version = (
    select(_earliest.id)
    .where(_earliest.version == DatasetRow.version)
    .order_by(_earliest.finished_at, _earliest.id)
    .limit(1)
    .scalar_subquery()
)
_SUMMARY = select(
    *(column for column in _columns if column.name != "record" and column not in set(_DETAILS)),
    case((_first_of_version != DatasetRow.id, _first_of_version)).label("same_as"),
)


@dataclass(frozen=True)
class ReadyDataset:
    """A data set that is ready, by what others call it."""

    id: uuid.UUID
    name: str | None


def get_dataset(sessions: Sessions, dataset_id: uuid.UUID) -> DatasetVersion:
    """Read one data set.

    Raises:
        NotFoundError: There is no such data set.
    """
    found = execute(sessions, _SUMMARY.add_columns(*_DETAILS).where(DatasetRow.id == dataset_id))
    if not found:
        raise NotFoundError(f"There is no data set {dataset_id}.")
    return _version_of(found[0])


def get_usable(sessions: Sessions, dataset_id: uuid.UUID) -> DatasetVersion:
    """Read a data set that is a version, locked or not.

    Raises:
        NotFoundError: There is no such data set.
        DatasetNotReadyError: It is no version.
        DatasetWithdrawnError: An image of it was erased.
    """
    found = get_dataset(sessions, dataset_id)
    if found.status is not DatasetStatus.READY:
        raise DatasetNotReadyError(f"The data set {dataset_id} is {found.status}.")
    if found.withdrawn_at is not None:
        raise DatasetWithdrawnError(f"The data set {dataset_id}.")
    return found


def get_trainable(sessions: Sessions, dataset_id: uuid.UUID) -> DatasetVersion:
    """Read a data set that may be trained on.

    Raises:
        NotFoundError: There is no such data set.
        DatasetNotReadyError: It is no version.
        DatasetLockedError: It is a locked test set.
        DatasetWithdrawnError: An image of it was erased.
    """
    found = get_usable(sessions, dataset_id)
    if found.locked:
        raise DatasetLockedError(f"The data set {dataset_id}.")
    return found


def list_datasets(sessions: Sessions, *, limit: int) -> list[DatasetVersion]:
    """The newest data sets, newest first, without their faults, lineage and leaks."""
    newest = _SUMMARY.order_by(DatasetRow.created_at.desc(), DatasetRow.id.desc()).limit(limit)
    return [_version_of(row) for row in execute(sessions, newest)]


def get_record(sessions: Sessions, dataset_id: uuid.UUID) -> dict[str, Any]:
    """Read the record of a version: its images with labels, groups and overlaps.

    Raises:
        NotFoundError: There is no such data set.
        DatasetNotReadyError: It is no version.
        DatasetWithdrawnError: An image of it was erased.
    """
    wanted = select(DatasetRow.status, DatasetRow.record, DatasetRow.withdrawn_at)
    found = execute(sessions, wanted.where(DatasetRow.id == dataset_id))
    if not found:
        raise NotFoundError(f"There is no data set {dataset_id}.")
    if found[0].withdrawn_at is not None:
        raise DatasetWithdrawnError(f"The data set {dataset_id}.")
    if found[0].record is None:
        raise DatasetNotReadyError(f"The data set {dataset_id} is {found[0].status}.")
    return cast(dict[str, Any], found[0].record)


def ready_datasets(sessions: Sessions, *, locked: bool) -> list[ReadyDataset]:
    """The versions that are locked test sets, or those that are not; oldest first."""
    wanted = (
        select(DatasetRow.id, DatasetRow.name)
        .where(
            DatasetRow.status == DatasetStatus.READY,
            DatasetRow.locked == locked,
            DatasetRow.withdrawn_at.is_(None),
        )
        .order_by(DatasetRow.created_at, DatasetRow.id)
    )
    return [ReadyDataset(row.id, row.name) for row in execute(sessions, wanted)]


def withdrawn_versions(sessions: Sessions) -> set[str]:
    """The versions of which no copy may be left anywhere."""
    wanted = select(DatasetRow.version).where(DatasetRow.withdrawn_at.is_not(None))
    return {row.version for row in execute(sessions, wanted)}


def dataset_standings(sessions: Sessions) -> list[Standing]:
    """Imports by status, with the age of the oldest."""
    return standings(sessions, DatasetRow, DatasetRow.created_at, DatasetStatus)


def open_datasets(sessions: Sessions, among: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """Those of some ids whose import has not ended."""
    wanted = select(DatasetRow.id).where(DatasetRow.id.in_(among), DatasetRow.finished_at.is_(None))
    return {row.id for row in execute(sessions, wanted)}


def _version_of(row: Row[Any]) -> DatasetVersion:
    values = row._mapping
    kept = DatasetVersion.__dataclass_fields__.keys() & values.keys()
    error = ImportFailure(row.error_code, row.error_detail) if row.error_code else None
    return DatasetVersion(
        **{name: values[name] for name in kept - {"source", "status"}},
        source=DatasetSource(row.source),
        status=DatasetStatus(row.status),
        error=error,
    )
