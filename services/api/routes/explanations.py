"""`/v1/jobs/{id}/images/{n}/explanation`: what in an image a prediction rests on."""

from __future__ import annotations

import uuid
from http import HTTPStatus

from apiflask import APIBlueprint
from flask import Response, request
from werkzeug.wrappers import Response as BaseResponse

from services.api.auth import actor, requires
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
from shared.jobs.admission import QueueFullError
from shared.storage import ObjectMissingError, explanation_key

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
        503: "Too many by this method are asked for, or a server does not answer.",
        **dict.fromkeys((404, 406, 409), "See the problem document."),
    },
    security="bearer",
)
@requires(Scope.READ)
def read_explanation(job_id: uuid.UUID, index: int, query: ExplanationQuery) -> BaseResponse:
    """Asks for the explanation unless somebody did before, and waits for it. Scope `read`."""
    form = _asked_form()
    subject = Subject(job_id, index, query.method)
    seconds = USUAL_WAIT_SECONDS[query.method] if query.wait is None else query.wait
    state = _wait_for_end(subject, seconds)
    try:
        response = _answer(state, form)
    except ObjectMissingError:  # the store has lost the picture, which can be made again
        response = _answer(_wait_for_end(subject, seconds, lost=state), form)
    response.headers["Vary"] = "Accept"
    # It shows a patient's cells: no cache on the way may keep it. The client's may, and asks here
    # each time whether it may be shown.
    response.headers["Cache-Control"] = "private, no-cache"
    return response


def _asked_form() -> str:
    accepted = request.accept_mimetypes
    form = accepted.best_match([_PNG, _JSON]) if accepted else _PNG
    if form is None:
        raise NotAcceptableError(f"It is available as {_PNG} or {_JSON}.")
    return form


def _wait_for_end(
    subject: Subject, seconds: float, *, lost: ExplanationState | None = None
) -> ExplanationState:
    """Ask for it, and read it at its end; earlier if the time is over or too many wait already."""
    ctx = context()
    waits = bool(seconds) and ctx.waiting_places.acquire(blocking=False)
    try:
        most = ctx.settings.max_queued_explanations
        state = queue.request(
            ctx.sessions, subject, actor=actor(), most=most, waits=waits, lost=lost
        )
        if state is None:
            raise QueueFullError(f"{most} explanations by {subject.method} are asked for.")
        if waits and not state.status.is_final:
            state = ctx.explanations.wait(subject, seconds)
        return state
    finally:
        if waits:
            ctx.waiting_places.release()


def _answer(state: ExplanationState, form: str) -> Response:
    if state.status is ExplanationStatus.FAILED:
        raise ExplanationFailedError(f"{state.error_code}: {state.error_detail}")
    if state.status is ExplanationStatus.SUCCEEDED and form == _PNG:
        return _picture(state)
    response = Response(explanation_out(state).model_dump_json(), content_type=_JSON)
    if not state.status.is_final:
        response.status_code = HTTPStatus.ACCEPTED
        response.headers["Retry-After"] = _RETRY_AFTER_SECONDS
    return response


def _picture(state: ExplanationState) -> Response:
    subject, sha256 = state.subject, str(state.png_sha256)
    response = Response(content_type=_PNG)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.set_etag(sha256)
    response.make_conditional(request)
    if response.status_code == HTTPStatus.OK:  # else the client has it
        key = explanation_key(subject.job_id, subject.image_index, subject.method, sha256)
        response.data = context().storage.get(key)
    return response
