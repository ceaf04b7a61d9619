"""`/v1/jobs/{id}/result` and `/v1/jobs/{id}/images/{n}`."""

from __future__ import annotations

import uuid
from typing import Any

from apiflask import APIBlueprint
from flask import Response, request
from werkzeug.wrappers import Response as BaseResponse

from services.api.auth import requires
from services.api.context import context
from services.api.language import chosen_language, language_headers
from shared.auth.keys import Scope
from shared.errors import NoResultError, NotAcceptableError, NotFoundError
from shared.jobs.queries import get_job
from shared.triage.result import TriageResult
from shared.triage.wording import worded

bp = APIBlueprint("results", __name__, url_prefix="/v1/jobs", tag="Results")

_JSON = "application/json"


@bp.get("/<uuid:job_id>/result")
@bp.output(TriageResult)
@bp.doc(summary="The triage result", responses=[404, 406, 409], security="bearer")
@requires(Scope.READ)
def read_result(job_id: uuid.UUID) -> tuple[dict[str, Any], int, dict[str, str]]:
    """The result of a job that has succeeded; 409 for any other. Scope `read`."""
    accepted = request.accept_mimetypes
    if accepted and accepted.best_match([_JSON]) is None:
        raise NotAcceptableError(f"It is available as {_JSON}.")
    job = get_job(context().sessions, job_id)
    if job.result is None:
        raise NoResultError(f"The job is {job.status}.")
    language = chosen_language()
    return worded(job.result, language), 200, language_headers(language)


@bp.get("/<uuid:job_id>/images/<int:index>")
@bp.doc(
    summary="An image of a job, as it was posted",
    responses={200: {"description": "The bytes.", "content": {"image/*": {}}}, 404: "None such."},
    security="bearer",
)
@requires(Scope.READ)
def read_image(job_id: uuid.UUID, index: int) -> BaseResponse:
    """The bytes of image `index`, counted from 0. Scope `read`."""
    job = get_job(context().sessions, job_id)
    if index >= len(job.images):
        raise NotFoundError(f"The job has {len(job.images)} images, counted from 0.")
    image = job.images[index]
    response = Response(context().storage.get(image.object_key), content_type=image.media_type)
    response.set_etag(image.sha256)
    # The bytes come from outside: a browser shows them as an image or not at all.
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Security-Policy"] = "sandbox"
    return response.make_conditional(request)
