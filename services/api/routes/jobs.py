"""`/v1/jobs`: post, read, list and cancel jobs."""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

from apiflask import APIBlueprint
from flask import Response, request
from werkzeug.wrappers import Response as BaseResponse

from services.api.auth import actor, current_key, requires
from services.api.context import context
from services.api.intake import accept, job_fields
from services.api.language import chosen_language, language_headers
from services.api.schemas import (
    JobAccepted,
    JobListOut,
    JobListQuery,
    JobOut,
    JobQuery,
    job_out,
    links_of,
)
from services.api.uploads import sent_fields, uploaded_streams
from shared.auth.keys import Scope
from shared.jobs.cancel import cancel
from shared.jobs.entities import Job
from shared.jobs.queries import JobFilter, get_job, list_jobs

bp = APIBlueprint("jobs", __name__, url_prefix="/v1/jobs", tag="Jobs")


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
    with uploaded_streams(context().settings) as streams:
        fields = job_fields(sent_fields())
        submission = accept(streams, fields, request.headers.get("Idempotency-Key"))
    job = submission.job
    links = links_of(job)
    body = JobAccepted(id=str(job.id), status=job.status, links=links).model_dump(mode="json")
    headers = {"Location": links.self, "Retry-After": "1"}
    return body, 202 if submission.created else 200, headers


@bp.get("/<uuid:job_id>")
@bp.input(JobQuery, location="query", arg_name="query")
@bp.output(JobOut)
@bp.doc(summary="Read a job", responses=[304, 404, 410], security="bearer")
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
    ctx, tenant = context(), current_key().tenant
    if seconds and ctx.waiting_places.acquire(blocking=False):
        try:
            ctx.ends.wait(job_id, seconds, tenant=tenant)
        finally:
            ctx.waiting_places.release()
    return get_job(ctx.sessions, job_id, tenant=tenant)


@bp.get("")
@bp.input(JobListQuery, location="query", arg_name="query")
@bp.output(JobListOut)
@bp.doc(summary="List jobs, newest first", security="bearer")
@requires(Scope.READ)
def read_jobs(query: JobListQuery) -> tuple[dict[str, Any], int, dict[str, str]]:
    """Filtered by status, priority, accession number, urgency and time. Scope `read`."""
    criteria = JobFilter(**query.model_dump(exclude={"cursor", "limit"}))
    page = list_jobs(
        context().sessions,
        criteria,
        tenant=current_key().tenant,
        limit=query.limit,
        cursor=query.cursor,
    )
    language = chosen_language()
    jobs = [job_out(job, language) for job in page.jobs]
    out = JobListOut(jobs=jobs, next_cursor=page.next_cursor)
    return out.model_dump(mode="json"), 200, language_headers(language)


@bp.delete("/<uuid:job_id>")
@bp.output(JobOut)
@bp.doc(summary="Cancel a queued job", responses=[404, 409, 410], security="bearer")
@requires(Scope.SUBMIT)
def delete_job(job_id: uuid.UUID) -> dict[str, Any]:
    """Takes a job back that no worker has claimed; 409 afterwards. Scope `submit`."""
    sessions, tenant = context().sessions, current_key().tenant
    cancel(sessions, job_id, tenant=tenant, actor=actor())
    return job_out(get_job(sessions, job_id, tenant=tenant)).model_dump(mode="json")
