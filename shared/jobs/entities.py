"""What the job functions take and give: frozen, typed, free of any session."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import Row

from shared.jobs.states import Priority, Status


@dataclass(frozen=True)
class JobImage:
    """One image of a job. Width and height in pixels; index counts from 0.

    Its bytes are gone from `purged_at` on.
    """

    index: int
    object_key: str
    sha256: str
    media_type: str
    bytes: int
    width: int
    height: int
    purged_at: dt.datetime | None = None


@dataclass(frozen=True)
class JobRequest:
    """What a client asks for, with nothing checked against the database yet."""

    api_key_id: str
    model_name: str
    model_version: int
    tenant: str
    priority: Priority = Priority.ROUTINE
    accession_number: str | None = None
    specimen_id: str | None = None
    patient_ref: str | None = None
    callback_url: str | None = None
    idempotency_key: str | None = None
    request_sha256: str = ""
    expire_after_seconds: float = 259_200


@dataclass(frozen=True)
class JobFailure:
    """Why a job failed or died."""

    code: str
    detail: str | None


@dataclass(frozen=True)
class Job:
    """A job as it stood when it was read."""

    id: uuid.UUID
    tenant: str
    status: Status
    priority: Priority
    model_name: str
    model_version: int
    accession_number: str | None
    specimen_id: str | None
    patient_ref: str | None
    request_id: str | None
    request_sha256: str
    submitted_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    attempts: int
    error: JobFailure | None
    images: tuple[JobImage, ...]
    result: dict[str, Any] | None

    @property
    def model(self) -> str:
        """The model as clients name it."""
        return f"{self.model_name}@{self.model_version}"

    @property
    def images_purged_at(self) -> dt.datetime | None:
        """When the last of its images went; None: none did."""
        return max((one.purged_at for one in self.images if one.purged_at), default=None)


def image_from_columns(columns: Mapping[str, Any]) -> JobImage:
    """Turn the columns of an image row, as JSON has them, into its entity."""
    values = {field.name: columns[field.name] for field in fields(JobImage)}
    purged_at = values["purged_at"]
    return JobImage(**{**values, "purged_at": purged_at and dt.datetime.fromisoformat(purged_at)})


def job_from_row(row: Row[Any]) -> Job:
    """Turn a row of `shared.jobs.queries.whole_jobs` into its entity."""
    return Job(
        id=row.id,
        tenant=row.tenant,
        status=Status(row.status),
        priority=Priority(row.priority),
        model_name=row.model_name,
        model_version=row.model_version,
        accession_number=row.accession_number,
        specimen_id=row.specimen_id,
        patient_ref=row.patient_ref,
        request_id=row.request_id,
        request_sha256=row.request_sha256,
        submitted_at=row.submitted_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        attempts=row.attempts,
        error=JobFailure(row.error_code, row.error_detail) if row.error_code else None,
        images=tuple(image_from_columns(image) for image in row.images),
        result=row.result,
    )
