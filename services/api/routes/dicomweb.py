"""`/dicomweb`: STOW-RS, by which PACS and microscopes send DICOM over HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from http import HTTPStatus
from typing import BinaryIO

from apiflask import APIBlueprint
from flask import Response, json, request
from werkzeug.wrappers import Response as BaseResponse

from services.api.auth import current_key, requires
from services.api.context import context
from services.api.schemas import links_of
from services.api.uploads import DICOM, decoding
from shared.auth.keys import Scope
from shared.errors import (
    BadRequestError,
    NotAcceptableError,
    PayloadTooLargeError,
    PermanentError,
    TooManyFilesError,
    UnsupportedMediaTypeError,
)
from shared.interop.dicom.frames import check_instance, uploads_of
from shared.interop.dicom.intake import DicomIntake
from shared.interop.dicom.read import Inflation, Instance, read_instance
from shared.interop.dicom.stow import (
    NOT_AS_ITS_CLASS,
    Failed,
    Parts,
    Stored,
    failure_reason,
    response_document,
)
from shared.jobs.admission import RateExceededError
from shared.jobs.submit import Upload

bp = APIBlueprint("dicomweb", __name__, url_prefix="/dicomweb", tag="DICOMweb")

DICOM_JSON = "application/dicom+json"
_RELATED = "multipart/related"
_DOCUMENTS = {
    200: "All instances are in jobs.",
    202: "Some are; the document says which are not.",
    409: "None is.",
}


@bp.post("/studies")
@bp.doc(
    summary="Store DICOM instances (STOW-RS)",
    responses={**_DOCUMENTS, 406: "Accept DICOM JSON.", 415: "Send DICOM."},
    security="bearer",
)
@requires(Scope.SUBMIT)
def store() -> BaseResponse:
    """One job for all instances of a study and a specimen, in order of their numbers."""
    return _store(None)


@bp.post("/studies/<study_uid>")
@bp.doc(
    summary="Store DICOM instances of one study (STOW-RS)",
    responses={**_DOCUMENTS, 406: "Accept DICOM JSON.", 415: "Send DICOM."},
    security="bearer",
)
@requires(Scope.SUBMIT)
def store_in_study(study_uid: str) -> BaseResponse:
    """The same; instances of other studies are refused. Scope `submit`."""
    return _store(study_uid)


def _store(study_uid: str | None) -> BaseResponse:
    _refuse_other_types()
    stored: list[Stored] = []
    failed: list[Failed] = []
    with ExitStack() as stack:
        instances = []
        inflation = Inflation(context().settings.max_request_bytes)
        for part in _parts(stack):
            read = _read(part, inflation, study_uid)
            if isinstance(read, Failed):
                failed.append(read)
            else:
                instances.append(read)
        if not instances and not failed:
            raise BadRequestError("There is no part.")
        for group in _jobs_of(instances):
            _accept(group, stored, failed)
    status = HTTPStatus.OK if not failed else HTTPStatus.ACCEPTED if stored else HTTPStatus.CONFLICT
    document = json.dumps(response_document(stored, failed))
    return Response(document, status=status, content_type=DICOM_JSON)


def _refuse_other_types() -> None:
    """PS3.18, section 10.5: what is neither DICOM in nor DICOM JSON out is 415 or 406."""
    asked = request.accept_mimetypes
    if asked and not (asked[DICOM_JSON] or asked["application/json"]):
        raise NotAcceptableError(f"The answer is {DICOM_JSON}.")
    inner = request.mimetype_params.get("type", DICOM)
    if request.mimetype != _RELATED or inner != DICOM:
        raise UnsupportedMediaTypeError(f'Send {_RELATED}; type="{DICOM}".')


def _parts(stack: ExitStack) -> Iterator[BinaryIO]:
    for media_type, stream in Parts(request.stream, request.mimetype_params.get("boundary", "")):
        stack.callback(stream.close)
        if media_type != DICOM:
            raise UnsupportedMediaTypeError(f"A part is {media_type}; expected {DICOM}.")
        yield stream


def _read(stream: BinaryIO, inflation: Inflation, study_uid: str | None) -> Instance | Failed:
    """The header of a part, or why it is refused; no pixel is decoded yet."""
    settings = context().settings
    try:
        instance: Instance = decoding(read_instance, stream, settings, inflation)
    except PermanentError as error:
        return Failed(failure_reason(error))
    named = (instance.sop_class_uid, instance.instance_uid)
    if study_uid is not None and instance.study_uid != study_uid:
        return Failed(NOT_AS_ITS_CLASS, *named)
    try:
        check_instance(instance, settings)
    except PermanentError as error:
        return Failed(failure_reason(error), *named)
    return instance


def _jobs_of(instances: Sequence[Instance]) -> list[list[Instance]]:
    """A job is about one specimen, whatever else is in its study."""
    groups: dict[object, list[Instance]] = {}
    for instance in sorted(instances, key=lambda one: (one.position, one.instance_uid)):
        groups.setdefault((instance.study_uid, instance.about), []).append(instance)
    return list(groups.values())


def _accept(group: list[Instance], stored: list[Stored], failed: list[Failed]) -> None:
    """Make a job of those whose pixels can be decoded."""
    usable: list[Instance] = []
    uploads: list[Upload] = []
    try:
        _refuse_many(group)
        for instance in group:
            try:
                uploads += decoding(uploads_of, instance, context().settings)
            except PermanentError as error:
                failed.append(_refused(instance, error))
            else:
                usable.append(instance)
            _refuse_large(uploads)
        url = _job_url(usable, uploads) if usable else ""
    except RateExceededError:
        raise  # the same request may be sent again later, and finds what was accepted
    except PermanentError as error:
        known = {one.instance_uid for one in failed}
        failed += [_refused(one, error) for one in group if one.instance_uid not in known]
    else:
        stored += [Stored(one.sop_class_uid, one.instance_uid, url) for one in usable]


def _refuse_many(group: list[Instance]) -> None:
    limit = context().settings.max_files
    if (frames := sum(instance.frames for instance in group)) > limit:
        raise TooManyFilesError(f"{frames} frames; at most {limit}.")


def _refuse_large(uploads: list[Upload]) -> None:
    """What was decoded waits on disk for its job: no more than of any other request."""
    if sum(upload.bytes for upload in uploads) > context().settings.max_request_bytes:
        raise PayloadTooLargeError


def _job_url(instances: list[Instance], uploads: list[Upload]) -> str:
    ctx = context()
    intake = DicomIntake(
        ctx.settings, ctx.sessions, ctx.storage, ctx.outbox, ctx.admission, ctx.registry
    )
    submission = intake.accept(current_key(), instances, uploads)
    if submission.created:
        ctx.ends.accepted(submission.job.id, tenant=submission.job.tenant)
    return request.host_url.rstrip("/") + links_of(submission.job).self


def _refused(instance: Instance, error: PermanentError) -> Failed:
    return Failed(failure_reason(error), instance.sop_class_uid, instance.instance_uid)
