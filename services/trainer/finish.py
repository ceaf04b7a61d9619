"""What becomes of a run that has trained: its record is kept, its weights stay in its folder."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

from shared.db.session import Sessions
from shared.trainings.claim import complete
from shared.trainings.states import TrainingClaim

RECORD = "record.json"


def run_folder(work: Path, run_id: uuid.UUID) -> Path:
    """Where a run keeps its checkpoints, its weights and its record."""
    return work / "runs" / str(run_id)


def finish(sessions: Sessions, held: TrainingClaim, folder: Path) -> bool:
    """End a run whose child has left its record; False where the claim was lost.

    Each run of the record names its folder within `folder`; `model.weights.h5` in it are the
    weights that are kept.
    """
    return complete(sessions, held, json.loads((folder / RECORD).read_text()))
