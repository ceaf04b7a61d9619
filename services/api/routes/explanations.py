"""`/v1/jobs/{id}/images/{n}/explanation`: what in an image a prediction rests on."""

from __future__ import annotations

import uuid

from apiflask import APIBlueprint
from flask import Response, request
from werkzeug.wrappers import Response as BaseResponse

from services.api.auth import current_key, requires
from services.api.context import context
from services.api.schemas import (
    USUAL_WAIT_SECONDS,
    ExplanationOut,
    ExplanationQuery,
    explanation_out,
)
from shared.auth.keys import Scope
from shared.errors import NotAcceptableError
from shared.explanations import queue
from shared.explanations.states import (
    ExplanationFailedError,
    ExplanationState,
    ExplanationStatus,
    Subject,
)
from shared.storage import explanation_key

bp = APIBlueprint("explanations", __name__, url_prefix="/v1/jobs", tag="Results")

_PNG = "image/png"
_JSON = "application/json"
_RETRY_AFTER_SECONDS = "2"


@bp.get("/<uuid:job_id>/images/<int:index>/explanation")
@bp.input(ExplanationQuery, location="query", arg_name="query")
@bp.output(ExplanationOut, status_code=202, description="It is not made yet: how far it is.")
@bp.doc(
    summary="What in an image the prediction rests on",
    responses={
        200: {
            "description": "The picture, or by `Accept` its figures.",
            "content": {
                _PNG: {},
                _JSON: {"schema": {"$ref": "#/components/schemas/ExplanationOut"}},
            },
        },
        304: "The picture has not changed.",
        **dict.fromkeys((404, 406, 409), "See the problem document."),
    },
    security="bearer",
)
@requires(Scope.READ)
def read_explanation(job_id: uuid.UUID, index: int, query: ExplanationQuery) -> BaseResponse:
    """Asks for the explanation unless somebody did before, and waits for it. Scope `read`."""
    form = _asked_form()
    subject = Subject(job_id, index, query.method)
    usual = USUAL_WAIT_SECONDS[query.method]
    state = _wait_for_end(subject, usual if query.wait is None else query.wait)
    if state.status is ExplanationStatus.FAILED:
        raise ExplanationFailedError(f"{state.error_code}: {state.error_detail}")
    if state.status is ExplanationStatus.SUCCEEDED and form == _PNG:
        response = _picture(state)
    else:
        response = Response(explanation_out(state).model_dump_json(), content_type=_JSON)
        if not state.status.is_final:
            response.status_code = 202
            response.headers["Retry-After"] = _RETRY_AFTER_SECONDS
    response.headers["Vary"] = "Accept"
    return response


def _asked_form() -> str:
    accepted = request.accept_mimetypes
    form = accepted.best_match([_PNG, _JSON]) if accepted else _PNG
    if form is None:
        raise NotAcceptableError(f"It is available as {_PNG} or {_JSON}.")
    return form


def _wait_for_end(subject: Subject, seconds: float) -> ExplanationState:
    """Ask for it, and read it at its end; earlier if the time is over or too many wait already."""
    ctx = context()
    state = queue.request(ctx.sessions, subject, actor=f"key:{current_key().id}")
    if state.status.is_final or not seconds or not ctx.waiting_places.acquire(blocking=False):
        return state
    try:
        return ctx.explanations.wait(subject, seconds)
    finally:
        ctx.waiting_places.release()


def _picture(state: ExplanationState) -> BaseResponse:
    subject = state.subject
    key = explanation_key(subject.job_id, subject.image_index, subject.method)
    response = Response(context().storage.get(key), content_type=_PNG)
    response.set_etag(str(state.png_sha256))
    # It shows a patient's cells: no cache on the way may keep it.
    response.headers["Cache-Control"] = "private, no-cache"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response.make_conditional(request)
