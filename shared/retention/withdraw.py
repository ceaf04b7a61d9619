"""Takes erased images out of data sets.

A version is named by the hash of its images, so that one without an image of it is no version any
more: it is withdrawn. Its other images stay in its record, because models were trained on them, and
what a model has seen must stay known.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ARRAY, Text, Uuid, bindparam, func, select, text
from sqlalchemy.orm import Session

from shared import audit
from shared.datasets.states import DatasetSource, DatasetStatus
from shared.db.models import DatasetRow, TrainingRunRow
from shared.retention.objects import give_up
from shared.storage import training_image_key
from shared.trainings.rows import move
from shared.trainings.states import TrainingStatus

_WITH_IMAGES = text(
    """
    SELECT d.id FROM datasets AS d WHERE d.record IS NOT NULL AND EXISTS (
        SELECT FROM json_array_elements(d.record -> 'images') AS image
        WHERE image ->> 'sha256' = ANY(:hashes)
    )
    """
).bindparams(bindparam("hashes", type_=ARRAY(Text)))

# A version may go on from the weights of another, and that from a third.
_TRAINED_ON = text(
    """
    WITH RECURSIVE trained AS (
        SELECT v.name, v.version FROM model_versions AS v
        JOIN training_runs AS r ON r.id = v.training_id WHERE r.dataset_id = ANY(:dataset_ids)
        UNION
        SELECT v.name, v.version FROM model_versions AS v
        JOIN training_runs AS r ON r.id = v.training_id
        JOIN trained AS t ON r.base = t.name || '@' || t.version
    )
    SELECT name || '@' || version FROM trained ORDER BY name, version
    """
).bindparams(bindparam("dataset_ids", type_=ARRAY(Uuid)))


@dataclass(frozen=True)
class Withdrawn:
    """Versions that were withdrawn, how many trainings on them ended, and models they made."""

    dataset_ids: tuple[uuid.UUID, ...] = ()
    trainings: int = 0
    models: tuple[str, ...] = ()


def withdraw(
    session: Session, hashes: Collection[str], *, actor: str, again_after: dt.timedelta
) -> Withdrawn:
    """Withdraw the versions that have one of some images, with their objects after the commit.

    Imports of reviews that are under way begin anew: they may have read an image by now.

    Args:
        session: The open transaction.
        hashes: SHA-256 of the erased images.
        actor: Who erases, as in `audit.record`.
        again_after: As in `objects.give_up`.
    """
    if not hashes:
        return Withdrawn()
    _restart_imports(session)
    # Whether or not a version has them: an import that failed, or is under way, may have stored
    # them too, and one that has just lost its claim may store them yet.
    give_up(session, map(training_image_key, hashes), again_after=again_after)
    found = list(session.scalars(_WITH_IMAGES, {"hashes": list(hashes)}))
    if not found:
        return Withdrawn()
    rows = select(DatasetRow).where(DatasetRow.id.in_(found)).order_by(DatasetRow.id)
    for row in session.scalars(rows.with_for_update()):
        row.withdrawn_at = row.withdrawn_at or func.clock_timestamp()
        row.record = _without(row.record or {}, hashes)
        row.faults = [one for one in row.faults or [] if one["sha256"] not in hashes]
        audit.record(session, actor, "dataset.withdrawn", None, dataset_id=str(row.id))
    trainings = _end_trainings(session, found, actor)
    models = session.scalars(_TRAINED_ON, {"dataset_ids": found})
    return Withdrawn(tuple(found), trainings, tuple(models))


def _without(record: dict[str, Any], hashes: Collection[str]) -> dict[str, Any]:
    """The record of a version that names none of some images, however it named them."""
    pairs = [
        pair
        for pair in record.get("overlaps", [])
        if pair["first"] not in hashes and pair["second"] not in hashes
    ]
    kept = {
        name: [one for one in record.get(name, []) if one["sha256"] not in hashes]
        for name in ("images", "left_out")
    }
    # A group is called by the hash of one of its images.
    groups = {one["group"] for one in kept["images"]} & set(hashes)
    renamed = {group: _other_name(group, kept["images"]) for group in groups}
    images = [{**one, "group": renamed.get(one["group"], one["group"])} for one in kept["images"]]
    return {**record, **kept, "images": images, "overlaps": pairs}


def _other_name(group: str, images: list[dict[str, Any]]) -> str:
    return str(min(one["sha256"] for one in images if one["group"] == group))


def _restart_imports(session: Session) -> None:
    rows = select(DatasetRow).where(
        DatasetRow.status == DatasetStatus.RUNNING, DatasetRow.source == DatasetSource.REVIEWS
    )
    for row in session.scalars(rows.with_for_update()):
        row.status = DatasetStatus.QUEUED
        row.worker = row.lease_expires_at = None


def _end_trainings(session: Session, dataset_ids: Collection[uuid.UUID], actor: str) -> int:
    runs = session.scalars(
        select(TrainingRunRow)
        .where(TrainingRunRow.dataset_id.in_(dataset_ids), TrainingRunRow.finished_at.is_(None))
        .with_for_update()
    ).all()
    for row in runs:
        move(session, row, TrainingStatus.CANCELLED, actor=actor)
    return len(runs)
