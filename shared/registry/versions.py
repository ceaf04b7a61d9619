"""Registers model versions and reads them.

What must travel with a version is in its card and its artefacts; without it there is no version.
"""

from __future__ import annotations

import datetime as dt
import io
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import false, func, select
from sqlalchemy.orm import Session

from shared import audit
from shared.db.models import GateRow, ModelVersionRow
from shared.db.session import Sessions, execute
from shared.models.registry import ModelVersion
from shared.registry.states import GateStatus, VersionIncompleteError
from shared.storage import ObjectStore, artefact_key

_OF_CARD = (
    "labels",
    "data",
    "split",
    "metrics",
    "review",
    "calibration",
    "conformal",
    "likeness",
    "monitoring",
    "precisions",
    "cases",
    "artefacts",
)
_ARTEFACTS = ("onnx", "reference", "cases")
_OF_ENSEMBLE = ("reference",)
SHIPPED_NUMBERS = 1000
"""Numbers up to this one are those of shipped versions, whatever a later release brings."""

_BINARY = "application/octet-stream"


@dataclass(frozen=True)
class Registered:
    """A version's row without its card; `released` tells that it has passed its newest gate."""

    name: str
    version: int
    training_id: uuid.UUID
    registered_at: dt.datetime
    released: bool


def check_complete(card: Mapping[str, Any]) -> None:
    """Refuse a card that lacks what its results, their doubts and its successors are measured by.

    Raises:
        VersionIncompleteError: It names what is missing.
    """
    wanted = _OF_ENSEMBLE if card.get("members") else _ARTEFACTS
    artefacts = card.get("artefacts", {})
    missing = [name for name in _OF_CARD if name not in card]
    missing += [f"artefacts.{name}" for name in wanted if name not in artefacts]
    if missing:
        raise VersionIncompleteError(f"It has no {', '.join(missing)}.")


def store_artefacts(storage: ObjectStore, version: ModelVersion) -> None:
    """Put a version's artefacts into the object store; one that is there is replaced by itself.

    Raises:
        ModelArtefactError: A file is not the one that the card describes.
        StorageUnavailableError: The store does not answer.
    """
    for kind in version.card["artefacts"]:
        content = version.artefact_path(kind).read_bytes()
        key = artefact_key(version.sha256(kind))
        storage.put(key, io.BytesIO(content), len(content), _BINARY)


def register(
    session: Session,
    card: Mapping[str, Any],
    *,
    training_id: uuid.UUID,
    actor: str,
) -> str:
    """Add a version whose artefacts are in the object store, in the transaction of what made it.

    Args:
        session: The open transaction.
        card: The version's card; its number is set here.
        training_id: The run that made it.
        actor: Who registers it, as in `audit.record`.

    Returns:
        The version, NAME@VERSION: the next one of its name.

    Raises:
        VersionIncompleteError: The card lacks something.
    """
    check_complete(card)
    name = str(card["name"])
    row = ModelVersionRow
    # One after the other, or two would take the same number.
    session.execute(select(func.pg_advisory_xact_lock(func.hashtext(f"model_versions {name}"))))
    highest = session.scalar(select(func.max(row.version)).where(row.name == name))
    version = (highest or SHIPPED_NUMBERS) + 1
    described = {**card, "version": version}
    session.add(
        ModelVersionRow(name=name, version=version, card=described, training_id=training_id)
    )
    model = f"{name}@{version}"
    audit.record(session, actor, "model.registered", model=model, training=str(training_id))
    return model


def list_registered(sessions: Sessions) -> list[Registered]:
    """All registered versions, by name and number."""
    row, gate = ModelVersionRow, GateRow
    newest = (
        select(gate.status)
        .where(gate.name == row.name, gate.version == row.version)
        .order_by(gate.requested_at.desc(), gate.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    released = func.coalesce(newest == GateStatus.PASSED, false()).label("released")
    statement = select(
        row.name, row.version, row.training_id, row.registered_at, released
    ).order_by(row.name, row.version)
    return [Registered(**found._mapping) for found in execute(sessions, statement)]


def read_card(sessions: Sessions, name: str, version: int) -> dict[str, Any] | None:
    """The card of a registered version; None: there is no such version."""
    row = ModelVersionRow
    statement = select(row.card).where(row.name == name, row.version == version)
    for found in execute(sessions, statement):
        card: dict[str, Any] = found.card
        return card
    return None


def version_in(folder: Path, card: Mapping[str, Any]) -> ModelVersion:
    """A registered version whose artefacts lie, or will lie, in a folder of their own."""
    name, number = str(card["name"]), int(card["version"])
    return ModelVersion(name, number, folder / name / str(number), dict(card))
