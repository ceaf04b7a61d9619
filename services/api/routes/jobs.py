"""`/v1/jobs`: post, read, list and cancel jobs."""

from __future__ import annotations

import hashlib
import random
import uuid
from typing import Any, BinaryIO

from apiflask import APIBlueprint
from flask import Response, request
from pydantic import ValidationError
from werkzeug.wrappers import Response as BaseResponse

from services.api.auth import actor, current_key, requires
from services.api.context import context
from services.api.language import chosen_language, language_headers
from services.api.schemas import (
    JobAccepted,
    JobFields,
    JobListOut,
    JobListQuery,
    JobOut,
    JobQuery,
    job_out,
    links_of,
)
from services.api.uploads import Taken, decoding, is_form, take_upload, uploaded_streams
from shared.auth.keys import Scope
from shared.errors import (
    BadRequestError,
    PayloadTooLargeError,
    PermanentError,
    TooManyFilesError,
)
from shared.interop.dicom.frames import common
from shared.jobs.cancel import cancel
from shared.jobs.entities import Job, JobRequest
from shared.jobs.queries import JobFilter, get_job, list_jobs
from shared.jobs.states import Priority
from shared.jobs.submit import Upload, fingerprint, submit
from shared.models.registry import ModelVersion
from shared.orders.entities import Order
from shared.orders.fill import filled, order_of, priority_of
from shared.webhooks.hosts import AllowedHosts

bp = APIBlueprint("jobs", __name__, url_prefix="/v1/jobs", tag="Jobs")

MAX_IDEMPOTENCY_KEY = 255


class FieldError(PermanentError):
    """A form field is not valid."""

    code = "validation_failed"


@bp.post("")
@bp.output(JobAccepted, status_code=202, description="Accepted; its result is to be polled.")
@bp.doc(
    summary="Post smear images of one specimen",
    responses={200: "The same request was accepted before, under this Idempotency-Key."},
    security="bearer",
)
@requires(Scope.SUBMIT)
def post_job() -> tuple[dict[str, Any], int, dict[str, str]]:
    """Stores 1 to 64 images and queues one job for them. Scope `submit`."""
    ctx = context()
    with uploaded_streams(ctx.settings) as streams:
        fields = _fields()
        order = order_of(ctx.sessions, fields.accession_number)
        ctx.admission.admit(current_key(), _priority(fields, order))
        model = ctx.registry.resolve_for_job(fields.model, random.random())  # noqa: S311 - no secret
        uploads, completed = _taken(streams, fields)
        order = order or _order_in_headers(fields, completed)
        job_request = filled(_job_request(completed, order, model, uploads), order)
        submission = submit(ctx.sessions, ctx.storage, ctx.outbox, job_request, uploads)
    job = submission.job
    if submission.created:
        ctx.ends.accepted(job.id)
    links = links_of(job)
    body = JobAccepted(id=str(job.id), status=job.status, links=links).model_dump(mode="json")
    headers = {"Location": links.self, "Retry-After": "1"}
    return body, 202 if submission.created else 200, headers


def _fields() -> JobFields:
    values = request.form if is_form() else request.args
    try:
        fields = JobFields.model_validate(values.to_dict())
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise FieldError("; ".join(faults)) from error
    if fields.callback_url is not None:
        AllowedHosts.parse(context().settings.webhook_allowed_hosts).check(fields.callback_url)
    return fields


def _priority(fields: JobFields, order: Order | None) -> Priority:
    return priority_of(fields.priority, order)


def _order_in_headers(said: JobFields, completed: JobFields) -> Order | None:
    """The order that DICOM headers name and the client does not, let in by its own priority."""
    if completed.accession_number == said.accession_number:
        return None
    ctx = context()
    order = order_of(ctx.sessions, completed.accession_number)
    priority = _priority(said, order)
    if priority is not _priority(said, None):
        ctx.admission.admit(current_key(), priority)
    return order


def _taken(streams: list[BinaryIO], fields: JobFields) -> tuple[list[Upload], JobFields]:
    """The images of all files, and the fields with what DICOM headers add to them."""
    settings = context().settings
    uploads: list[Upload] = []
    instances = []
    for index, stream in enumerate(streams):
        taken = _checked(index, stream)
        uploads += taken.uploads
        if taken.instance is not None:
            instances.append(taken.instance)
        if len(uploads) > settings.max_files:
            raise TooManyFilesError(f"{len(uploads)} images; at most {settings.max_files}.")
        if sum(upload.bytes for upload in uploads) > settings.max_request_bytes:
            raise PayloadTooLargeError(f"At most {settings.max_request_bytes} bytes of pixels.")
    return uploads, fields.completed_by(common(instances)) if instances else fields


def _checked(index: int, stream: BinaryIO) -> Taken:
    try:
        return decoding(take_upload, stream, context().settings)
    except PermanentError as error:
        raise type(error)(f"Image {index}. {error.detail or ''}".strip()) from error


def _job_request(
    fields: JobFields, order: Order | None, model: ModelVersion, uploads: list[Upload]
) -> JobRequest:
    idempotency_key = request.headers.get("Idempotency-Key")
    if idempotency_key is not None and not 0 < len(idempotency_key) <= MAX_IDEMPOTENCY_KEY:
        raise BadRequestError(f"Idempotency-Key must have 1 to {MAX_IDEMPOTENCY_KEY} characters.")
    described = sorted(fields.model_dump(mode="json").items())
    return JobRequest(
        api_key_id=current_key().id,
        model_name=model.name,
        model_version=model.version,
        priority=_priority(fields, order),
        accession_number=fields.accession_number,
        specimen_id=fields.specimen_id,
        patient_ref=fields.patient_ref,
        callback_url=fields.callback_url,
        idempotency_key=idempotency_key,
        expire_after_seconds=context().settings.expire_after_seconds,
        request_sha256=fingerprint(described, [upload.sha256 for upload in uploads]),
    )


@bp.get("/<uuid:job_id>")
@bp.input(JobQuery, location="query", arg_name="query")
@bp.output(JobOut)
@bp.doc(summary="Read a job", responses=[304, 404], security="bearer")
@requires(Scope.READ)
def read_job(job_id: uuid.UUID, query: JobQuery) -> BaseResponse:
    """Status and, once it has succeeded, the result. Scope `read`."""
    job = _wait_for_end(job_id, query.wait)
    language = chosen_language()
    body = job_out(job, language).model_dump_json()
    response = Response(body, content_type="application/json", headers=language_headers(language))
    # A job without a result is the same bytes in every language, and yet not one representation.
    response.set_etag(hashlib.sha256(f"{language} {body}".encode()).hexdigest()[:32])
    if not job.status.is_final:
        response.headers["Retry-After"] = "1"
    return response.make_conditional(request)


def _wait_for_end(job_id: uuid.UUID, seconds: float) -> Job:
    """Read the job at its end or after so many seconds; at once where too many wait already."""
    ctx = context()
    if seconds and ctx.waiting_places.acquire(blocking=False):
        try:
            ctx.ends.wait(job_id, seconds)
        finally:
            ctx.waiting_places.release()
    return get_job(ctx.sessions, job_id)


@bp.get("")
@bp.input(JobListQuery, location="query", arg_name="query")
@bp.output(JobListOut)
@bp.doc(summary="List jobs, newest first", security="bearer")
@requires(Scope.READ)
def read_jobs(query: JobListQuery) -> tuple[dict[str, Any], int, dict[str, str]]:
    """Filtered by status, priority, accession number, urgency and time. Scope `read`."""
    criteria = JobFilter(**query.model_dump(exclude={"cursor", "limit"}))
    page = list_jobs(context().sessions, criteria, limit=query.limit, cursor=query.cursor)
    language = chosen_language()
    jobs = [job_out(job, language) for job in page.jobs]
    out = JobListOut(jobs=jobs, next_cursor=page.next_cursor)
    return out.model_dump(mode="json"), 200, language_headers(language)


@bp.delete("/<uuid:job_id>")
@bp.output(JobOut)
@bp.doc(summary="Cancel a queued job", responses=[404, 409], security="bearer")
@requires(Scope.SUBMIT)
def delete_job(job_id: uuid.UUID) -> dict[str, Any]:
    """Takes a job back that no worker has claimed; 409 afterwards. Scope `submit`."""
    sessions = context().sessions
    cancel(sessions, job_id, actor=actor())
    return job_out(get_job(sessions, job_id)).model_dump(mode="json")
