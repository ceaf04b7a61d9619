"""What becomes of a run that has trained: its record is kept, and its version registered."""

from __future__ import annotations

import json
import logging
import uuid
from pathlib import Path
from typing import Any

from shared.db.session import Sessions
from shared.errors import PermanentError
from shared.models.registry import CARD, ModelVersion
from shared.registry.versions import check_complete, store_artefacts
from shared.settings import Settings
from shared.storage import ObjectStore
from shared.trainings.claim import complete
from shared.trainings.states import TrainingClaim

RECORD = "record.json"
REFUSED = "registration_error"
"""What a record says of a version that was not registered: `code` and `detail`."""

_UNNUMBERED = 1
"""Number of a version until it is registered, which gives it the next one of its name."""

_log = logging.getLogger(__name__)


def run_folder(work: Path, run_id: uuid.UUID) -> Path:
    """Where a run keeps its checkpoints, its weights, its version and its record."""
    return work / "runs" / str(run_id)


def drafted(folder: Path, name: str) -> ModelVersion:
    """The version that a run makes, whether or not it is there yet.

    Args:
        folder: Of the run.
        name: Of the architecture, which is that of the version.
    """
    return ModelVersion(name, _UNNUMBERED, folder / "version" / name / str(_UNNUMBERED))


def finish(
    settings: Settings, sessions: Sessions, storage: ObjectStore, held: TrainingClaim
) -> bool:
    """End a run whose child has left its record; False where the claim was lost.

    The artefacts of its version are in the object store before the version is registered, which is
    one transaction with the end of the run.

    Raises:
        StorageUnavailableError: The artefacts could not be stored; nothing has ended.
    """
    folder = run_folder(settings.trainer_work, held.run_id)
    record = json.loads((folder / RECORD).read_text())
    version = _version(folder, record)
    if version is not None:
        try:
            check_complete(version.card)
            store_artefacts(storage, version)
        except PermanentError as error:  # as it is, it never will be one
            _log.warning("not registered", extra={"training": str(held.run_id)}, exc_info=error)
            record[REFUSED] = {"code": error.code, "detail": str(error)}
            version = None
    card = None if version is None else version.card
    return complete(sessions, held, record, card=card)


def _version(folder: Path, record: dict[str, Any]) -> ModelVersion | None:
    """The version that the child has made; None: it made none."""
    (name,) = record["models"]
    version = drafted(folder, name)
    is_there = REFUSED not in record and (version.folder / CARD).is_file()
    return version if is_there else None
