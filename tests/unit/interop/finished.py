"""Jobs that have ended with a result, for what is made of results."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np

from shared.auth.tenants import DEFAULT_TENANT
from shared.imaging.quality import Quality
from shared.jobs.entities import Job, JobImage
from shared.jobs.states import Priority, Status
from shared.triage.evidence import Evidence
from shared.triage.labels import Label
from shared.triage.result import ModelReference, field_result, triage_result

AT = dt.datetime(2026, 1, 2, 3, 4, 5, 600_000, tzinfo=dt.UTC)
JOB_ID = uuid.UUID("0c5d0000-0000-4000-8000-00000000abcd")
DOUBTFUL = (0.01, 0.85, 0.13, 0.01)
CLEAR = (0.97, 0.01, 0.01, 0.01)
URGENT = (0.002, 0.99, 0.005, 0.003)
QUALITY = Quality(1.1, 250.0, 0.0, 0.4, 0.5, 0.0, 7)


def finished(
    *rows: Sequence[float], label_set: tuple[Label, ...] | None = None, **changes: Any
) -> Job:
    """A job of one image for each row of calibrated probabilities.

    Args:
        rows: In the order of `LABELS`; by default one image that is doubtfully Early.
        label_set: The conformal set of each.
        changes: Of the job's fields.
    """
    job_id = changes.get("id", JOB_ID)
    fields = [
        field_result(
            index,
            Evidence(
                np.array(row, np.float32),
                np.array(row),
                unlikeness=0.5,
                quality=QUALITY,
                label_set=label_set,
            ),
        )
        for index, row in enumerate(rows or [DOUBTFUL])
    ]
    model = ModelReference(
        name="ensemble", version=1, sha256="ab" * 32, engine="openvino", precision="f32"
    )
    result = triage_result(str(job_id), fields, [model], created_at=AT, timings_ms={"infer": 1.0})
    values = {
        "id": job_id,
        "status": Status.SUCCEEDED,
        "priority": Priority.ROUTINE,
        "model_name": "ensemble",
        "model_version": 1,
        "request_id": "r-1",
        "accession_number": "A-17",
        "specimen_id": "S-3",
        "patient_ref": "pn-abc",
        "request_sha256": "",
        "submitted_at": AT - dt.timedelta(seconds=2),
        "started_at": AT - dt.timedelta(seconds=1),
        "finished_at": AT,
        "attempts": 1,
        "error": None,
        "images": tuple(_image(index) for index in range(len(fields))),
        "result": result.model_dump(mode="json"),
    }
    return Job(**{**values, **changes}, tenant=DEFAULT_TENANT)


def _image(index: int) -> JobImage:
    key = f"jobs/{JOB_ID}/images/{index}"
    return JobImage(index, key, f"{index:064x}", "image/png", 1000, 320, 240)
