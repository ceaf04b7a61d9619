"""Which DICOM instance and frame each image of a job was."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from sqlalchemy import bindparam, select

from shared.db.models import DicomSourceRow
from shared.db.session import Sessions, execute


@dataclass(frozen=True)
class DicomSource:
    """Where an image came from; `index` counts images from 0, `frame` frames from 1."""

    index: int
    study_uid: str
    series_uid: str
    instance_uid: str
    sop_class_uid: str
    frame: int


_OF_JOB = (
    select(
        DicomSourceRow.index,
        DicomSourceRow.study_uid,
        DicomSourceRow.series_uid,
        DicomSourceRow.instance_uid,
        DicomSourceRow.sop_class_uid,
        DicomSourceRow.frame,
    )
    .where(DicomSourceRow.job_id == bindparam("job_id"))
    .order_by(DicomSourceRow.index)
)


def read_sources(sessions: Sessions, job_id: uuid.UUID) -> tuple[DicomSource, ...]:
    """The sources of a job's images by index; none where no image was DICOM."""
    rows = execute(sessions, _OF_JOB, {"job_id": job_id})
    return tuple(DicomSource(**row._mapping) for row in rows)
