"""Data sets and requests for tests of training runs."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from services.trainer.dataset import read_dataset
from services.trainer.dataset_store import store_images
from shared.clock import utc_now
from shared.db.models import DatasetRow
from shared.db.session import Sessions
from shared.storage import ObjectStore
from shared.trainings.request import TrainingRequest

TINY = {"images_per_class": 4, "max_epochs": 3, "batch_size": 8, "learning_rate": 0.01}
"""What makes a run of the smallest network end within seconds."""


def a_ready_dataset(
    sessions: Sessions, content: dict[str, Any] | None = None, **changes: object
) -> uuid.UUID:
    """A data set whose import has ended, without its images."""
    found = content or {"version": f"{1:064d}", "images": []}
    values: dict[str, Any] = {
        "id": uuid.uuid4(),
        "source": "upload",
        "locked": False,
        "status": "ready",
        "reviews_until": 0,
        "upload_sha256": f"{2:064d}",
        "upload_bytes": 1,
        "finished_at": utc_now(),
        "version": found["version"],
        "record": found,
        "statistics": {"counts": {}},
        "faults": [],
        "lineage": {},
        "leaks": [],
        **changes,
    }
    with sessions.begin() as session:
        session.add(DatasetRow(**values))
    return values["id"]


def a_stored_dataset(sessions: Sessions, storage: ObjectStore, folder: Path) -> uuid.UUID:
    """A data set of the PNG files of a folder of class folders, each a group by itself."""
    dataset = read_dataset(folder, groups="none")
    images = [
        {"label": str(s.label), "sha256": s.sha256, "group": s.group, "media_type": "image/png"}
        for s in dataset.samples
    ]
    record = {"version": dataset.version, "images": images}
    files = {sample.sha256: sample.path for sample in dataset.samples}
    store_images(storage, record, files, known=())
    return a_ready_dataset(sessions, record)


def a_request(dataset_id: uuid.UUID, **changes: object) -> TrainingRequest:
    """A request for the smallest network."""
    values = {"architecture": "cnn_custom", "dataset_id": dataset_id, **changes}
    return TrainingRequest.model_validate(values)
