"""The files of a case: its images, their explanations, its result in other forms, its report."""

from __future__ import annotations

import importlib
import uuid

from flask import Blueprint, Response, request
from gevent import get_hub
from werkzeug.wrappers import Response as BaseResponse

from services.api.auth import current_key
from services.api.console import pictures
from services.api.console.visitor import needs
from services.api.console.words import language
from services.api.context import context
from services.api.explaining import picture
from services.api.routes.results import language_of, written
from shared.auth.keys import Scope
from shared.clock import utc_now
from shared.errors import NotFoundError
from shared.explanations import queue
from shared.explanations.method import Method
from shared.explanations.states import ExplanationState, ExplanationStatus, Subject
from shared.interop.forms import MEDIA_TYPES, ResultForm
from shared.interop.results import result_of
from shared.interop.sources import read_sources
from shared.jobs.entities import Job, JobImage
from shared.jobs.queries import get_job
from shared.retention.removed import ImagePurgedError
from shared.storage import ObjectMissingError

_ENDINGS = {
    ResultForm.JSON: "json",
    ResultForm.FHIR: "fhir.json",
    ResultForm.HL7: "hl7",
    ResultForm.DICOM: "dcm",
}
_PDF = "application/pdf"
_REPORT, _SETTING = "services.api.console.report", "services.api.console.pdf"


def add(bp: Blueprint) -> None:
    """Add these pages."""
    case = "/cases/<uuid:job_id>"
    image = f"{case}/images/<int:index>"
    bp.add_url_rule(image, "case_image", show_image)
    bp.add_url_rule(f"{image}/thumb", "case_thumb", show_thumb)
    bp.add_url_rule(f"{image}/overlay/<method>", "case_overlay", show_overlay)
    bp.add_url_rule(f"{image}/explanation/<method>", "case_picture", show_picture)
    bp.add_url_rule(f"{case}/result/<form>", "case_result", give_result)
    bp.add_url_rule(f"{case}/report.pdf", "case_report", give_report)


def one_image(job: Job, index: int) -> JobImage:
    """An image of a job.

    Raises:
        NotFoundError: It has no such image.
    """
    if not 0 <= index < len(job.images):
        raise NotFoundError(f"The job has {len(job.images)} images, counted from 0.")
    return job.images[index]


def explanation_states(job_id: uuid.UUID, index: int) -> dict[Method, ExplanationState | None]:
    """The explanations of a field by their methods; None: there is none yet, or none any more."""
    states: dict[Method, ExplanationState | None] = {}
    for method in Method:
        try:
            subject = Subject(job_id, index, method)
            states[method] = queue.read(context().sessions, subject, tenant=current_key().tenant)
        except (NotFoundError, ImagePurgedError):
            states[method] = None
    return states


@needs(Scope.READ)
def show_image(job_id: uuid.UUID, index: int) -> BaseResponse:
    """An image of a job, as PNG where browsers would not show it."""
    image = one_image(get_job(context().sessions, job_id, tenant=current_key().tenant), index)
    data, media_type = pictures.as_shown(image)
    return _file(data, media_type, etag=image.sha256)


@needs(Scope.READ)
def show_thumb(job_id: uuid.UUID, index: int) -> BaseResponse:
    """An image of a job, small."""
    image = one_image(get_job(context().sessions, job_id, tenant=current_key().tenant), index)
    return _file(pictures.reduced(image, pictures.THUMB_SIDE), pictures.JPEG)


@needs(Scope.READ)
def show_overlay(job_id: uuid.UUID, index: int, method: str) -> BaseResponse:
    """What an explanation lights up in an image, in the image's shape."""
    image = one_image(get_job(context().sessions, job_id, tenant=current_key().tenant), index)
    state = _explained(job_id, index, method)
    return _file(pictures.overlay(state, image), pictures.PNG, etag=str(state.png_sha256))


@needs(Scope.READ)
def show_picture(job_id: uuid.UUID, index: int, method: str) -> BaseResponse:
    """An explanation with its scale and its caption."""
    state = _explained(job_id, index, method)
    return _file(picture(state), pictures.PNG, etag=str(state.png_sha256))


@needs(Scope.READ)
def give_result(job_id: uuid.UUID, form: str) -> BaseResponse:
    """The result as JSON, FHIR, HL7 or DICOM, to be kept."""
    if form not in tuple(ResultForm):
        raise NotFoundError(f"There is no form {form}.")
    wanted = ResultForm(form)
    job = get_job(context().sessions, job_id, tenant=current_key().tenant)
    data = written(job, wanted, language_of(wanted, language()))
    return _file(data, MEDIA_TYPES[wanted], name=f"{job_id}.{_ENDINGS[wanted]}")


@needs(Scope.READ)
def give_report(job_id: uuid.UUID) -> BaseResponse:
    """The report on paper: a page for the job, then one a field."""
    ctx = context()
    job = get_job(ctx.sessions, job_id, tenant=current_key().tenant)
    result = result_of(job, language())
    # Imported when the first is asked for: its library takes half a second.
    paper = importlib.import_module(_REPORT)
    sources = {source.index: source for source in read_sources(ctx.sessions, job_id)}
    fields = []
    for found in result.images:
        image = one_image(job, found.index)
        fields.append(
            paper.FieldOnPaper(
                found,
                image,
                sources.get(found.index),
                shown=pictures.reduced(image, pictures.PRINTED_SIDE),
                overlay=_overlay_if_made(job_id, image),
            )
        )
    document = paper.report(job, result, fields, utc_now())
    # In a thread, because 64 fields take seconds, and other requests must go on.
    data: bytes = get_hub().threadpool.apply(importlib.import_module(_SETTING).render, (document,))
    return _file(data, _PDF, name=f"{job_id}.pdf")


def _overlay_if_made(job_id: uuid.UUID, image: JobImage) -> bytes | None:
    try:
        return pictures.overlay(_explained(job_id, image.index, Method.GRADCAM), image)
    except (NotFoundError, ObjectMissingError):
        return None  # a report waits for nothing, and says nothing of what is not there


def _explained(job_id: uuid.UUID, index: int, method: str) -> ExplanationState:
    if method not in tuple(Method):
        raise NotFoundError(f"There is no method {method}.")
    subject = Subject(job_id, index, Method(method))
    state = queue.read(context().sessions, subject, tenant=current_key().tenant)
    if state.status is not ExplanationStatus.SUCCEEDED:
        raise NotFoundError("The explanation is not made yet.")
    return state


def _file(
    data: bytes, media_type: str, *, etag: str | None = None, name: str | None = None
) -> BaseResponse:
    response = Response(data, content_type=media_type)
    if etag is not None:
        response.set_etag(etag)
    if name is not None:
        response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    # The bytes come from outside: a browser shows them as what they are said to be or not at all.
    response.headers["Content-Security-Policy"] = "sandbox"
    return response.make_conditional(request)
