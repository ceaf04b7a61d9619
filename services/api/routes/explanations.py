"""`/v1/jobs/{id}/images/{n}/explanation`: what in an image a prediction rests on."""

from __future__ import annotations

import uuid
from http import HTTPStatus

from apiflask import APIBlueprint
from flask import Response, request
from werkzeug.wrappers import Response as BaseResponse

from services.api.auth import requires
from services.api.explaining import asked, picture
from services.api.schemas import (
    USUAL_WAIT_SECONDS,
    ExplanationOut,
    ExplanationQuery,
    explanation_out,
)
from shared.auth.keys import Scope
from shared.errors import NotAcceptableError
from shared.explanations.states import (
    ExplanationFailedError,
    ExplanationState,
    ExplanationStatus,
    Subject,
)
from shared.storage import ObjectMissingError

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
        **dict.fromkeys((404, 406, 409, 410), "See the problem document."),
    },
    security="bearer",
)
@requires(Scope.READ)
def read_explanation(job_id: uuid.UUID, index: int, query: ExplanationQuery) -> BaseResponse:
    """Asks for the explanation unless somebody did before, and waits for it. Scope `read`."""
    form = _asked_form()
    subject = Subject(job_id, index, query.method)
    seconds = USUAL_WAIT_SECONDS[query.method] if query.wait is None else query.wait
    state = asked(subject, seconds)
    try:
        response = _answer(state, form)
    except ObjectMissingError:  # the store has lost the picture, which can be made again
        response = _answer(asked(subject, seconds, lost=state), form)
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
    response = Response(content_type=_PNG)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.set_etag(str(state.png_sha256))
    response.make_conditional(request)
    if response.status_code == HTTPStatus.OK:  # else the client has it
        response.data = picture(state)
    return response
