"""One case: its fields, what the models and the policy say of them, and what became of it."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from flask import Blueprint, Response, redirect, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from services.api.auth import actor, current_key
from services.api.console.case_history import happened
from services.api.console.findings import measures
from services.api.console.live import live
from services.api.console.rendering import page
from services.api.console.routes.case_files import explanation_states, one_image
from services.api.console.visitor import needs
from services.api.console.words import language
from services.api.context import context
from services.api.explaining import asked
from shared.auth.keys import Scope
from shared.clock import utc_now
from shared.errors import NotFoundError
from shared.explanations.method import Method
from shared.explanations.states import Subject
from shared.interop.forms import ResultForm
from shared.interop.results import result_of
from shared.interop.sources import read_sources
from shared.jobs.cancel import cancel
from shared.jobs.entities import Job
from shared.jobs.queries import get_job
from shared.jobs.unfinished import progress_of
from shared.triage.labels import LABELS
from shared.triage.result import FieldResult, TriageResult
from shared.triage.wording.fields import reasons_to_read

_NO_WAIT = 0


def add(bp: Blueprint) -> None:
    """Add these pages."""
    case = "/cases/<uuid:job_id>"
    image = f"{case}/images/<int:index>"
    bp.add_url_rule(case, "case", show_case)
    bp.add_url_rule(f"{case}/live", "case_live", show_live)
    bp.add_url_rule(f"{case}/cancel", "case_cancel", do_cancel, methods=["POST"])
    bp.add_url_rule(f"{image}/explanation", "case_explain", do_explain, methods=["POST"])
    bp.add_url_rule(f"{image}/explanation", "case_explanation", show_explanation)


@needs(Scope.READ)
def show_case(job_id: uuid.UUID) -> str:
    """Everything of a case; of its fields the one that is asked for, else the leading one."""
    job = get_job(context().sessions, job_id, tenant=current_key().tenant)
    shown: dict[str, Any] = {"job": job, "history": happened(job)}
    if job.result is None:
        progress = progress_of(context().sessions, job_id, tenant=current_key().tenant)
        return page("case.html", **shown, result=None, progress=progress)
    return page("case.html", **shown, **_of_result(job))


@needs(Scope.READ)
def show_live(job_id: uuid.UUID) -> str | Response:
    """How far a job is; once it has ended, its page is to be loaded anew."""
    progress = progress_of(context().sessions, job_id, tenant=current_key().tenant)
    if progress.status.is_final:
        return Response(status=204, headers={"HX-Refresh": "true"})
    return live("_case_live.html", progress=progress)


@needs(Scope.SUBMIT)
def do_cancel(job_id: uuid.UUID) -> BaseResponse:
    """Takes a queued job back."""
    cancel(context().sessions, job_id, tenant=current_key().tenant, actor=actor())
    return redirect(url_for("console.case", job_id=job_id), 303)


@needs(Scope.READ)
def do_explain(job_id: uuid.UUID, index: int) -> BaseResponse:
    """Asks for an explanation; the page of the case tells how far it is."""
    method = request.form.get("method", Method.GRADCAM)
    if method not in tuple(Method):
        raise NotFoundError(f"There is no method {method}.")
    asked(Subject(job_id, index, Method(method)), _NO_WAIT)
    address = url_for("console.case", job_id=job_id, field=index, _anchor="explanation")
    return redirect(address, 303)


@needs(Scope.READ)
def show_explanation(job_id: uuid.UUID, index: int) -> str | Response:
    """How far the explanations of a field are."""
    one_image(get_job(context().sessions, job_id, tenant=current_key().tenant), index)
    states = explanation_states(job_id, index)
    return live("_case_explanation.html", job_id=job_id, index=index, states=states)


def _of_result(job: Job) -> dict[str, Any]:
    sessions = context().sessions
    result = result_of(job, language())
    leading = next(filter(lambda one: _leads(one, result), result.images), result.images[0])
    index = request.args.get("field", leading.index, type=int)
    image = one_image(job, index)
    field = next((one for one in result.images if one.index == index), leading)
    sources = read_sources(sessions, job.id)
    return {
        "job_id": job.id,
        "result": result,
        "reasons": reasons_to_read(result, language()),
        "field": field,
        "leading": leading,
        "image": image,
        "index": index,
        "measures": measures(field),
        "states": explanation_states(job.id, index),
        "source": next((source for source in sources if source.index == index), None),
        "forms": [form for form in ResultForm if sources or form is not ResultForm.DICOM],
        "labels": LABELS,
        "now": utc_now(),
        "due_at": _due_at(result),
    }


def _leads(field: FieldResult, result: TriageResult) -> bool:
    """Whether the job's result is that of a field, by what it takes over from it."""
    taken = ("prediction", "urgency", "p_malignant")
    return all(getattr(field, name) == getattr(result, name) for name in taken)


def _due_at(result: TriageResult) -> dt.datetime | None:
    if result.within_hours is None:
        return None
    return result.created_at + dt.timedelta(hours=result.within_hours)
