"""Sends images: a form that makes one job of the fields of one specimen, and what becomes of it."""

from __future__ import annotations

import uuid

from flask import Blueprint, Response, redirect, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from services.api.auth import current_key
from services.api.console.live import live
from services.api.console.rendering import page
from services.api.console.visitor import needs
from services.api.context import context
from services.api.intake import accept, job_fields
from services.api.uploads import uploaded_streams
from shared.auth.keys import Scope
from shared.errors import HemotriageError
from shared.jobs.states import Priority
from shared.jobs.unfinished import sent_by

_FIELDS = ("accession_number", "specimen_id", "patient_ref", "priority", "model")
_LATELY = 8


def add(bp: Blueprint) -> None:
    """Add these pages."""
    bp.add_url_rule("/send", "send", show_send)
    bp.add_url_rule("/send", "do_send", do_send, methods=["POST"])
    bp.add_url_rule("/send/live", "send_live", show_live)


@needs(Scope.SUBMIT)
def show_send() -> str:
    """The form, filled with what the address says."""
    return _form({name: request.args.get(name, "") for name in _FIELDS})


@needs(Scope.SUBMIT)
def do_send() -> BaseResponse | tuple[str, int]:
    """Makes a job; a repetition of the same form gives the same one."""
    values = {name: request.form.get(name, "").strip() for name in _FIELDS}
    try:
        fields = job_fields({name: value for name, value in values.items() if value})
        with uploaded_streams(context().settings) as streams:
            key = request.form.get("request_key")
            submission = accept(streams, fields, key, name_of=_name_of)
    except HemotriageError as error:
        return _refused(values, error), int(error.http_status)
    address = url_for("console.send", sent=submission.job.id)
    if request.headers.get("HX-Request"):
        return Response(status=204, headers={"HX-Redirect": address})
    return redirect(address, 303)


@needs(Scope.SUBMIT)
def show_live() -> str | Response:
    """What the visitor has sent lately, and how far it is."""
    jobs = sent_by(context().sessions, current_key().id, most=_LATELY)
    return live("_send_live.html", jobs=jobs, sent=request.args.get("sent", ""))


def _name_of(index: int) -> str:
    """What the visitor knows a file by."""
    return f"{request.files.getlist('image')[index].filename}:"


def _form(values: dict[str, str], refusal: HemotriageError | None = None) -> str:
    registry, settings = context().registry, context().settings
    return page(
        "send.html",
        values=values,
        refusal=refusal,
        aliases=registry.aliases(),
        versions=[str(version) for version in registry.versions()],
        priorities=Priority,
        most=settings.max_files,
        most_bytes=settings.max_request_bytes,
        request_key=uuid.uuid4().hex,
        sent=request.args.get("sent", ""),
    )


def _refused(values: dict[str, str], error: HemotriageError) -> str:
    """The notice alone where a script asks for it, which keeps the files that were chosen."""
    if request.headers.get("HX-Request"):
        return page("_send_refusal.html", refusal=error)
    return _form(values, error)
