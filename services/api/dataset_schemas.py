"""The API's words for data sets, as they stand in the OpenAPI document."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from services.api.dataset_uploads import MEDIA_TYPES
from services.api.fields import FORM, Flag, Query
from services.api.schemas import JobError, Reference
from shared.auth.tenants import DEFAULT_TENANT, TENANT
from shared.datasets.states import DatasetSource, DatasetStatus, DatasetVersion


class UploadFields(BaseModel):
    """What may be said of an upload, in its form or in the query."""

    model_config = FORM

    name: Reference | None = Field(None, description="For people; never a patient's.")
    locked: Flag = Field(False, description="A test set: nothing may be trained on it.")


class ReviewsIn(BaseModel):
    """A data set of reviewed images, with those of a base."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reviews_since: uuid.UUID | None = Field(
        None, description="Reviews from when this data set was asked for; null: all."
    )
    base: uuid.UUID | None = Field(None, description="A version whose images it has too.")
    name: Reference | None = Field(None, description="For people; never a patient's.")
    tenant: str = Field(
        DEFAULT_TENANT,
        pattern=TENANT,
        description="Whose reviews; those of several come in one after the other, by `base`.",
    )


class DatasetListQuery(Query):
    """How many to list."""

    limit: int = Field(50, ge=1, le=200)


class DatasetLinks(BaseModel):
    """Where a data set's parts are."""

    self: str
    manifest: str


class DatasetSummary(BaseModel):
    """A data set in a list."""

    id: str
    name: str | None
    source: DatasetSource
    locked: bool
    status: DatasetStatus
    version: str | None = Field(
        description="SHA-256 over labels and contents; null until it is ready."
    )
    same_as: str | None = Field(description="The data set that was this version before.")
    counts: dict[str, int] | None = Field(description="Images a class.")
    error: JobError | None
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    attempts: int
    withdrawn_at: dt.datetime | None = Field(
        description="Since when nothing uses it, because an image of it was erased."
    )
    links: DatasetLinks


class Fault(BaseModel):
    """What is wrong with an image."""

    label: str
    sha256: str
    code: str
    detail: str
    left_out: bool = Field(description="The version lacks it.")


class Leak(BaseModel):
    """A data set that shows the same, and how many images of this one it shows."""

    dataset_id: str
    name: str | None
    images: int


class DatasetOut(DatasetSummary):
    """A data set as it stands."""

    lineage: dict[str, Any] = Field(
        description="`base`, `reviews_since`, `upload`, and once it is ready `reviews`."
    )
    statistics: dict[str, Any] | None = Field(description="Null until it is ready.")
    faults: list[Fault]
    leaks_into: list[Leak] = Field(description="Locked test sets; what they show is left out.")
    leaks_from: list[Leak] = Field(
        description="Of a locked test set: sets to train on that show the same."
    )


class DatasetListOut(BaseModel):
    """The newest data sets, newest first."""

    datasets: list[DatasetSummary]


class ImageOut(BaseModel):
    """An image of a version."""

    label: str
    sha256: str
    group: str = Field(description="Images of one group show the same area of a slide.")
    bytes: int
    media_type: str
    width: int
    height: int


class ManifestOut(BaseModel):
    """The images of a version. It has no names of files: they may be a patient's."""

    version: str
    images: list[ImageOut]


def dataset_summary(found: DatasetVersion) -> DatasetSummary:
    """A data set in a list."""
    return DatasetSummary(**_common(found))


def dataset_out(found: DatasetVersion) -> DatasetOut:
    """A data set as clients see it."""
    upload = {"sha256": found.upload_sha256, "bytes": found.upload_bytes}
    leaks = [Leak(**leak) for leak in found.leaks or []]
    return DatasetOut(
        **_common(found),
        lineage={
            "base": _text(found.base_id),
            "reviews_since": _text(found.reviews_since_id),
            "upload": upload if found.source is DatasetSource.UPLOAD else None,
            **(found.lineage or {}),
        },
        statistics=found.statistics,
        faults=[Fault(**fault) for fault in found.faults or []],
        leaks_into=[] if found.locked else leaks,
        leaks_from=leaks if found.locked else [],
    )


def request_body() -> dict[str, Any]:
    """What `POST /v1/datasets` takes, for the OpenAPI document."""
    zip_file = {"type": "string", "format": "binary"}
    fields = UploadFields.model_json_schema()
    form = {
        **fields,
        "properties": {"file": zip_file, **fields["properties"]},
        "required": ["file"],
    }
    content = {
        "multipart/form-data": {"schema": form},
        "application/json": {"schema": ReviewsIn.model_json_schema()},
        **{media_type: {"schema": zip_file} for media_type in MEDIA_TYPES},
    }
    return {"required": True, "content": content}


def _common(found: DatasetVersion) -> dict[str, Any]:
    """What a list and a single answer both say."""
    address = f"/v1/datasets/{found.id}"
    error = found.error
    return {
        "id": str(found.id),
        "name": found.name,
        "source": found.source,
        "locked": found.locked,
        "status": found.status,
        "version": found.version,
        "same_as": _text(found.same_as),
        "counts": found.counts,
        "error": JobError(code=error.code, detail=error.detail) if error else None,
        "created_at": found.created_at,
        "started_at": found.started_at,
        "finished_at": found.finished_at,
        "attempts": found.attempts,
        "withdrawn_at": found.withdrawn_at,
        "links": DatasetLinks(self=address, manifest=f"{address}/manifest"),
    }


def _text(dataset_id: uuid.UUID | None) -> str | None:
    return None if dataset_id is None else str(dataset_id)
