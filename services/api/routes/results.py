"""`/v1/jobs/{id}/result` and `/v1/jobs/{id}/images/{n}`."""

from __future__ import annotations

import hashlib
import importlib
import uuid

from apiflask import APIBlueprint
from flask import Response, json, request
from gevent import get_hub
from werkzeug.datastructures import MIMEAccept
from werkzeug.wrappers import Response as BaseResponse

from services.api.auth import current_key, requires
from services.api.context import context
from services.api.language import chosen_language, language_headers
from shared.auth.keys import Scope
from shared.errors import NotAcceptableError, NotFoundError
from shared.interop.fhir import bundle
from shared.interop.forms import HL7_OVER_HTTP, MEDIA_TYPES, ResultForm
from shared.interop.hl7.oru import control_id_of, oru_r01
from shared.interop.results import NoDicomSourceError, identity, result_of
from shared.interop.sources import read_sources
from shared.jobs.entities import Job
from shared.jobs.images import read_bytes
from shared.jobs.queries import get_job
from shared.orders.fill import order_of
from shared.triage.result import TriageResult
from shared.triage.wording import Language

bp = APIBlueprint("results", __name__, url_prefix="/v1/jobs", tag="Results")

_FORMS = {
    **{media_type: form for form, media_type in MEDIA_TYPES.items()},
    HL7_OVER_HTTP: ResultForm.HL7,
}
_FHIR_VERSIONS = (None, "4.0")
_REPORT = "shared.interop.dicom.report"


@bp.get("/<uuid:job_id>/result")
@bp.output(TriageResult, description="In the form that `Accept` asks for; JSON if it does not say.")
@bp.doc(
    summary="The triage result",
    responses={
        304: "It has not changed.",
        406: "There is no such form, or none of DICOM because no image came as DICOM.",
        **dict.fromkeys((404, 409, 410), "See the problem document."),
    },
    security="bearer",
)
@requires(Scope.READ)
def read_result(job_id: uuid.UUID) -> BaseResponse:
    """As JSON, FHIR R4, HL7 v2.5.1 or DICOM SR; 409 without a result. Scope `read`."""
    media_type = _asked_media_type()
    job = get_job(context().sessions, job_id, tenant=current_key().tenant)
    form = _FORMS[media_type]
    language = language_of(form, chosen_language())
    body = written(job, form, language)
    response = Response(body, headers=language_headers(language))
    utf8 = "; charset=utf-8" if form is ResultForm.HL7 else ""
    response.headers["Content-Type"] = f"{media_type}{utf8}"
    response.headers.add("Vary", "Accept")
    response.set_etag(hashlib.sha256(f"{media_type} {language} ".encode() + body).hexdigest()[:32])
    return response.make_conditional(request)


def language_of(form: ResultForm, wanted: Language) -> Language:
    """A structured report is in English, whatever is asked for: its UID names one document."""
    return Language.ENGLISH if form is ResultForm.DICOM else wanted


def _asked_media_type() -> str:
    accepted = request.accept_mimetypes
    if not accepted:
        return MEDIA_TYPES[ResultForm.JSON]
    # Parameters such as `charset` ask for nothing that there is a choice of, but FHIR's version.
    bare = MIMEAccept([(kind.partition(";")[0], q) for kind, q in accepted if _is_ours(kind)])
    media_type = bare.best_match(_FORMS)
    if media_type is None:
        raise NotAcceptableError(f"It is available as {', '.join(_FORMS)}.")
    return media_type


def _is_ours(accepted: str) -> bool:
    """Whether a media type asks for no other version of FHIR than R4 (its RESTful API)."""
    parameters = dict(
        parameter.strip().partition("=")[::2] for parameter in accepted.lower().split(";")[1:]
    )
    return parameters.get("fhirversion") in _FHIR_VERSIONS


def written(job: Job, form: ResultForm, language: Language) -> bytes:
    """The result of a job in one of its forms.

    Raises:
        NoResultError: The job has none.
        NoDicomSourceError: The form is DICOM, and no image came as DICOM.
    """
    if form is ResultForm.JSON:
        return result_of(job, language).model_dump_json().encode()
    result_of(job)  # a job without a result is refused before anything else is looked for
    sessions = context().sessions
    if form is ResultForm.HL7:
        control_id = control_id_of(identity(job, f"message in {language}"))
        order = order_of(sessions, job.accession_number, tenant=job.tenant)
        return oru_r01(job, control_id=control_id, language=language, order=order).encode()
    sources = read_sources(sessions, job.id)
    if form is ResultForm.FHIR:
        order = order_of(sessions, job.accession_number, tenant=job.tenant)
        return json.dumps(bundle(job, sources, language=language, order=order)).encode()
    if not sources:
        raise NoDicomSourceError
    # Imported when the first is asked for, because its libraries take half a second and 50 MB; run
    # in a thread, because the report of 64 fields takes seconds, and other requests must go on.
    written: bytes = get_hub().threadpool.apply(
        importlib.import_module(_REPORT).structured_report, (job, sources)
    )
    return written


@bp.get("/<uuid:job_id>/images/<int:index>")
@bp.doc(
    summary="An image of a job, as it was posted",
    responses={
        200: {"description": "The bytes.", "content": {"image/*": {}}},
        404: "None such.",
        410: "It is not kept any more, or its job was erased.",
    },
    security="bearer",
)
@requires(Scope.READ)
def read_image(job_id: uuid.UUID, index: int) -> BaseResponse:
    """The bytes of image `index`, counted from 0. Scope `read`."""
    job = get_job(context().sessions, job_id, tenant=current_key().tenant)
    if index >= len(job.images):
        raise NotFoundError(f"The job has {len(job.images)} images, counted from 0.")
    image = job.images[index]
    response = Response(read_bytes(context().storage, image), content_type=image.media_type)
    response.set_etag(image.sha256)
    # The bytes come from outside: a browser shows them as an image or not at all.
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Security-Policy"] = "sandbox"
    return response.make_conditional(request)
