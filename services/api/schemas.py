"""The API's own vocabulary, as it stands in the OpenAPI document."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

from pydantic import BaseModel, Field, StringConstraints

from services.api.fields import FORM, Moment, Query
from shared.db.cursors import CURSOR
from shared.explanations.method import Method
from shared.explanations.states import ExplanationState, ExplanationStatus
from shared.interop.dicom.read import About
from shared.interop.results import result_of
from shared.jobs import reference
from shared.jobs.entities import Job
from shared.jobs.states import Priority, Status
from shared.triage.policy import Urgency
from shared.triage.result import TriageResult
from shared.triage.wording import Language
from shared.webhooks.hosts import MAX_URL_LENGTH

MAX_WAIT_SECONDS = 30
USUAL_WAIT_SECONDS = {Method.GRADCAM: 10, Method.LIME: 0}

Reference = reference.Reference

CallbackUrl = Annotated[str, StringConstraints(min_length=1, max_length=MAX_URL_LENGTH)]


class JobFields(BaseModel):
    """The form fields of a job, besides its images."""

    model_config = FORM

    accession_number: Reference | None = None
    specimen_id: Reference | None = None
    patient_ref: Reference | None = Field(
        None, description="A pseudonym; never a name or a hospital number."
    )
    priority: Priority | None = Field(
        None, description="Left out: that of the order with this accession number, else `routine`."
    )
    model: Reference = Field(
        "champion", description="An alias such as `champion`, `NAME` or `NAME@VERSION`."
    )
    callback_url: CallbackUrl | None = Field(
        None, description="Told of the job's end by a signed POST; its host must be allowed."
    )

    def completed_by(self, about: About) -> JobFields:
        """With what the header of DICOM images says, where the client says nothing."""
        said = {name: value for name, value in vars(about).items() if getattr(self, name) is None}
        return self.model_copy(update=said)


class Links(BaseModel):
    """Where a job's parts are."""

    self: str
    result: str
    images: list[str]
    explanations: list[str] = Field(description="Why the model says so, for each of the images.")


class JobAccepted(BaseModel):
    """The answer to a posted job."""

    id: str
    status: Status
    links: Links


class JobError(BaseModel):
    """Why a job failed or died."""

    code: str
    detail: str | None


class JobOut(BaseModel):
    """A job as it stands."""

    id: str
    status: Status
    priority: Priority
    model: str
    accession_number: str | None
    specimen_id: str | None
    patient_ref: str | None
    request_id: str | None = Field(description="`X-Request-Id` of the call that posted it.")
    submitted_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    attempts: int
    error: JobError | None
    result: TriageResult | None
    links: Links


class JobListOut(BaseModel):
    """A page of jobs, newest first."""

    jobs: list[JobOut]
    next_cursor: str | None = Field(description="Pass it as `cursor` for the next page.")


class JobQuery(Query):
    """The query of one job."""

    wait: float = Field(
        0,
        ge=0,
        le=MAX_WAIT_SECONDS,
        description="Seconds to wait for the job's end before answering.",
    )


class JobListQuery(Query):
    """Filters and the page of a list of jobs."""

    status: Status | None = None
    priority: Priority | None = None
    accession_number: Reference | None = None
    urgency: Urgency | None = None
    submitted_from: Moment | None = Field(None, description="Inclusive, with a time zone.")
    submitted_to: Moment | None = Field(None, description="Exclusive, with a time zone.")
    cursor: str | None = Field(None, pattern=CURSOR, description="`next_cursor` of a page.")
    limit: int = Field(50, ge=1, le=200)


class ExplanationQuery(Query):
    """The query of an explanation."""

    method: Method = Field(
        Method.GRADCAM, description="`gradcam` takes about a second, `lime` up to minutes."
    )
    wait: float | None = Field(
        None,
        ge=0,
        le=MAX_WAIT_SECONDS,
        description="Seconds to wait for its end before answering; by default "
        + ", ".join(f"{seconds} for `{method}`" for method, seconds in USUAL_WAIT_SECONDS.items())
        + ".",
    )


class ExplanationLinks(BaseModel):
    """Where an explanation's picture is."""

    png: str


class ExplanationOut(BaseModel):
    """An explanation as it stands."""

    job_id: str
    image: int = Field(description="Position of the image in the job, from 0.")
    method: Method
    status: ExplanationStatus
    progress: float = Field(ge=0, le=1)
    requested_at: dt.datetime
    finished_at: dt.datetime | None
    document: dict[str, Any] | None = Field(
        description="Model, label and figures of it; null until it has succeeded."
    )
    links: ExplanationLinks


class Problem(BaseModel):
    """An error, by RFC 9457."""

    type: str
    title: str
    status: int
    code: str = Field(description="Stable; made for programs.")
    detail: str | None = None


def links_of(job: Job) -> Links:
    """The links of a job."""
    base = f"/v1/jobs/{job.id}"
    images = [f"{base}/images/{image.index}" for image in job.images]
    explanations = [f"{image}/explanation" for image in images]
    return Links(self=base, result=f"{base}/result", images=images, explanations=explanations)


def job_out(job: Job, language: Language = Language.ENGLISH) -> JobOut:
    """A job as clients see it, its result in their language."""
    return JobOut(
        id=str(job.id),
        status=job.status,
        priority=job.priority,
        model=job.model,
        accession_number=job.accession_number,
        specimen_id=job.specimen_id,
        patient_ref=job.patient_ref,
        request_id=job.request_id,
        submitted_at=job.submitted_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        attempts=job.attempts,
        error=JobError(code=job.error.code, detail=job.error.detail) if job.error else None,
        result=result_of(job, language) if job.result else None,
        links=links_of(job),
    )


def explanation_out(state: ExplanationState) -> ExplanationOut:
    """An explanation as clients see it."""
    subject = state.subject
    image = f"/v1/jobs/{subject.job_id}/images/{subject.image_index}"
    return ExplanationOut(
        job_id=str(subject.job_id),
        image=subject.image_index,
        method=subject.method,
        status=state.status,
        progress=state.progress,
        requested_at=state.requested_at,
        finished_at=state.finished_at,
        document=state.document,
        links=ExplanationLinks(png=f"{image}/explanation?method={subject.method}"),
    )
