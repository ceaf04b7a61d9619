"""The vocabulary of `/v1/holds` and `/v1/erasures`, as it stands in the OpenAPI document."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from services.api.fields import Flag, Query
from services.api.schemas import Reference
from shared.auth.tenants import DEFAULT_TENANT, TENANT
from shared.retention.erasures import Erasure, ErasureStatus
from shared.retention.holds import Hold, HoldKind

Code = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_.-]{0,63}$")]
"""A reason or a matter: letters, digits, `_`, `.` and `-`; never a text about a patient."""


class HoldIn(BaseModel):
    """What is to be held."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tenant: str = Field(DEFAULT_TENANT, pattern=TENANT, description="Whose data are held.")
    kind: HoldKind
    value: Reference = Field(
        description="The id of a job, a patient's pseudonym or an accession number."
    )
    reason: Code = Field(description="A code, such as a matter's number.")


class HoldOut(BaseModel):
    """A hold as it stands."""

    id: str
    tenant: str
    kind: HoldKind
    value: str = Field(description="Empty once the patient that it named was erased.")
    reason: str
    placed_by: str
    placed_at: dt.datetime
    released_by: str | None
    released_at: dt.datetime | None = Field(description="Null while it holds.")


class HoldListOut(BaseModel):
    """Holds, newest first."""

    holds: list[HoldOut]


class HoldListQuery(Query):
    """Which holds."""

    released: Flag = Field(False, description="Those that were released too.")
    limit: int = Field(200, ge=1, le=1000)


class ErasureIn(BaseModel):
    """Whose data are to be erased, and why."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tenant: str = Field(
        DEFAULT_TENANT, pattern=TENANT, description="In which the pseudonym is meant."
    )
    patient_ref: Reference = Field(description="The pseudonym that jobs and orders carry.")
    reason: Code = Field(description="A code, such as `patient_request`.")


class ErasureLinks(BaseModel):
    """Where an erasure is."""

    self: str


class ErasureOut(BaseModel):
    """An erasure as it stands; it does not say whose."""

    id: str
    tenant: str
    status: ErasureStatus
    reason: str
    requested_by: str
    requested_at: dt.datetime
    finished_at: dt.datetime | None
    counts: dict[str, int] = Field(description="Rows that were removed or ended, by table.")
    jobs: list[str]
    orders: list[str]
    datasets: list[str] = Field(description="Versions that had an image of it: withdrawn.")
    models: list[str] = Field(
        description="Versions that were trained on one of those; they are there still."
    )
    holds: list[str] = Field(description="What it was refused for.")
    links: ErasureLinks


class ErasureListOut(BaseModel):
    """The newest erasures, newest first."""

    erasures: list[ErasureOut]


class ErasureListQuery(Query):
    """How many erasures."""

    limit: int = Field(50, ge=1, le=200)


def hold_out(hold: Hold) -> HoldOut:
    """The hold as clients see it."""
    return HoldOut(**{**vars(hold), "id": str(hold.id)})


def erasure_out(erasure: Erasure) -> ErasureOut:
    """The erasure as clients see it."""
    return ErasureOut(
        id=str(erasure.id),
        tenant=erasure.tenant,
        status=erasure.status,
        reason=erasure.reason,
        requested_by=erasure.requested_by,
        requested_at=erasure.requested_at,
        finished_at=erasure.finished_at,
        counts=erasure.counts,
        jobs=[str(one) for one in erasure.job_ids],
        orders=[str(one) for one in erasure.order_ids],
        datasets=[str(one) for one in erasure.dataset_ids],
        models=list(erasure.models),
        holds=[str(one) for one in erasure.hold_ids],
        links=ErasureLinks(self=f"/v1/erasures/{erasure.id}"),
    )
