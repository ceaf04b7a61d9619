"""`/dicomweb/workitems`: UPS-RS, by which a PACS follows jobs and orders (PS3.18, chapter 11)."""

from __future__ import annotations

import uuid
from http import HTTPStatus
from typing import Any

from apiflask import APIBlueprint
from flask import Response, json, request
from werkzeug.wrappers import Response as BaseResponse

from services.api.auth import current_key, requires
from services.api.bodies import expect_little
from services.api.context import context
from services.api.errors import problem
from services.api.routes.dicomweb import DICOM_JSON
from shared.auth.keys import Scope
from shared.errors import BadRequestError, NotAcceptableError, UnsupportedMediaTypeError
from shared.interop.dicom.ups import changes
from shared.interop.dicom.ups.errors import WorkitemError
from shared.interop.dicom.ups.names import chosen_id, workitem_id, workitem_uid
from shared.interop.dicom.ups.read import (
    named_uid,
    patient_id,
    read_changes,
    read_creation,
    read_dataset,
    read_state_change,
    transaction_uid,
)
from shared.interop.dicom.ups.search import read_search
from shared.interop.dicom.ups.written import workitem_json
from shared.orders.workitem_entities import Workitem, WorkitemState
from shared.orders.workitems import get_workitem, search_workitems

bp = APIBlueprint("workitems", __name__, url_prefix="/dicomweb/workitems", tag="DICOMweb")
bp.before_request(expect_little)

_ALREADY = "The UPS is already in the requested state of {}."
_REFUSED = {409: "Its state does not allow it; `Warning` says why."}


@bp.errorhandler(WorkitemError)
def _refused(error: WorkitemError) -> Response:
    response = problem(error)
    if error.detail:
        response.headers["Warning"] = _warning(error.detail)
    return response


@bp.get("")
@bp.doc(
    summary="Search for workitems (UPS-RS)",
    responses={200: "Workitems, newest first.", 204: "There is none.", 400: "", 406: ""},
    security="bearer",
)
@requires(Scope.READ)
def search() -> BaseResponse:
    """Orders and jobs as workitems, at most 200 at once. Scope `read`."""
    _expect_json_wanted()
    asked = read_search(request.args.items(multi=True), context().settings)
    page = search_workitems(
        context().sessions,
        asked.criteria,
        tenant=current_key().tenant,
        limit=asked.limit,
        offset=asked.offset,
    )
    warnings = list(asked.warnings)
    if page.remaining:
        more = f"There are {page.remaining} additional results that can be requested"
        warnings.append(more)
    if page.workitems:
        response = _dicom_json([_written(workitem) for workitem in page.workitems])
    else:
        response = _nothing(HTTPStatus.NO_CONTENT)
    for text in warnings:
        response.headers.add("Warning", _warning(text))
    return response


@bp.post("")
@bp.doc(
    summary="Create a workitem (UPS-RS)",
    responses={201: "An order is expected.", 400: "", 409: "There is such a one.", 415: ""},
    security="bearer",
)
@requires(Scope.SUBMIT)
def create() -> BaseResponse:
    """Places an order; of its patient a pseudonym is kept, and no more. Scope `submit`."""
    dataset = read_dataset(_body())
    new_id = _new_id(named_uid(dataset))
    said = read_creation(dataset, context().settings)
    changes.create(context().sessions, new_id, said, key=current_key())
    response = _nothing(HTTPStatus.CREATED)
    address = f"{_service()}/workitems/{workitem_uid(new_id)}"
    response.headers["Location"] = response.headers["Content-Location"] = address
    response.headers["Warning"] = _warning("The Workitem was created with modifications.")
    return response


@bp.get("/<uid>")
@bp.doc(
    summary="Read a workitem (UPS-RS)",
    responses={200: "The workitem.", 404: "", 406: ""},
    security="bearer",
)
@requires(Scope.READ)
def retrieve(uid: str) -> BaseResponse:
    """An order or a job, in a list of one. Scope `read`."""
    _expect_json_wanted()
    found = get_workitem(context().sessions, workitem_id(uid), tenant=current_key().tenant)
    return _dicom_json([_written(found)])


@bp.post("/<uid>")
@bp.doc(
    summary="Update a workitem (UPS-RS)",
    responses={200: "It says so now.", 400: "", 404: "", **_REFUSED, 415: ""},
    security="bearer",
)
@requires(Scope.SUBMIT)
def update(uid: str) -> BaseResponse:
    """Changes what an order says, as long as nobody works on it. Scope `submit`."""
    sessions, target = context().sessions, workitem_id(uid)
    dataset = read_dataset(_body())
    wanted = read_changes(dataset, context().settings)
    known = get_workitem(sessions, target, tenant=current_key().tenant)
    if patient_id(dataset) == known.about.patient_ref:
        # Who sends back what was read here says no other patient.
        wanted.pop("patient_ref", None)
    transaction = request.args.get("transaction-uid") or transaction_uid(dataset)
    kept = changes.update(sessions, target, wanted, transaction, key=current_key())
    said = "The Workitem was updated with modifications."
    return _done(said if kept else "Requested optional Attributes are not supported.")


@bp.put("/<uid>/state")
@bp.doc(
    summary="Claim, complete or give up a workitem (UPS-RS)",
    responses={200: "It is in that state.", 400: "", 404: "", **_REFUSED, 415: ""},
    security="bearer",
)
@requires(Scope.SUBMIT)
def change_state(uid: str) -> BaseResponse:
    """For who performs an order elsewhere, under a Transaction UID. Scope `submit`."""
    target = workitem_id(uid)
    change = read_state_change(read_dataset(_body()))
    already = changes.change_state(context().sessions, target, change, key=current_key())
    return _done(_ALREADY.format(change.state) if already else None)


@bp.post("/<uid>/cancelrequest")
@bp.doc(
    summary="Ask for the cancellation of a workitem (UPS-RS)",
    responses={202: "It is cancelled.", 400: "", 404: "", **_REFUSED, 415: ""},
    security="bearer",
)
@requires(Scope.SUBMIT)
def request_cancellation(uid: str) -> BaseResponse:
    """Takes an expected order, or a queued job, back at once. Scope `submit`."""
    target = workitem_id(uid)
    if request.get_data():
        # Why it is, and who may be asked, may name people: it is not kept.
        read_dataset(_body())
    already = changes.request_cancellation(context().sessions, target, key=current_key())
    said = _ALREADY.format(WorkitemState.CANCELED) if already else None
    return _done(said, HTTPStatus.ACCEPTED)


def _new_id(named: str) -> uuid.UUID:
    """The id that the query or the data set asks for (PS3.18, section 11.4.1.1), or a new one."""
    asked = request.args.get("workitem") or next(
        (name for name, value in request.args.items() if not value), ""
    )
    if asked and named and asked != named:
        raise BadRequestError("The query and the data set name different UIDs.")
    uid = asked or named
    return chosen_id(uid) if uid else uuid.uuid4()


def _body() -> bytes:
    if request.mimetype != DICOM_JSON:
        raise UnsupportedMediaTypeError(f"Send {DICOM_JSON}.")
    return request.get_data()


def _expect_json_wanted() -> None:
    """PS3.18, section 8.3.3.1: the parameter `accept` comes before the header."""
    if asked := request.args.get("accept"):
        wanted = asked == DICOM_JSON
    else:
        accepted = request.accept_mimetypes
        wanted = not accepted or bool(accepted[DICOM_JSON])
    if not wanted:
        raise NotAcceptableError(f"The answer is {DICOM_JSON}.")


def _written(workitem: Workitem) -> dict[str, Any]:
    base_url = request.host_url.rstrip("/")
    station = context().settings.dicom_ae_title
    return workitem_json(workitem, base_url=base_url, station=station)


def _dicom_json(workitems: list[dict[str, Any]]) -> Response:
    return Response(json.dumps(workitems), content_type=DICOM_JSON)


def _done(warning: str | None, status: HTTPStatus = HTTPStatus.OK) -> Response:
    response = _nothing(status)
    if warning is not None:
        response.headers["Warning"] = _warning(warning)
    return response


def _nothing(status: HTTPStatus) -> Response:
    """An answer without a body, and so of no media type."""
    response = Response(status=status)
    del response.headers["Content-Type"]
    return response


def _service() -> str:
    return request.host_url + "dicomweb"


def _warning(text: str) -> str:
    """A `Warning` as the standard words it, after the base of the service (PS3.18, 8.3.4.2)."""
    return f"299 {_service()}: {text}"
