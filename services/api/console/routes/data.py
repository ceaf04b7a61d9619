"""Data set versions: listed, imported, looked at."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from flask import Blueprint, redirect, request, url_for
from werkzeug.wrappers import Response

from services.api.console.codes import in_words
from services.api.console.forms import given
from services.api.console.guard import check_token, reads_its_token
from services.api.console.rendering import page
from services.api.console.visitor import needs
from services.api.context import context
from services.api.dataset_intake import dataset_from_reviews, dataset_from_upload
from shared.auth.keys import Scope
from shared.datasets.queries import get_dataset, list_datasets
from shared.errors import PermanentError

_LISTED = 100


def add(bp: Blueprint) -> None:
    """Add these pages."""
    bp.add_url_rule("/data", "data", show_datasets)
    bp.add_url_rule("/data/uploads", "upload_dataset", do_upload, methods=["POST"])
    bp.add_url_rule("/data/reviews", "dataset_of_reviews", do_reviews, methods=["POST"])
    bp.add_url_rule("/data/<uuid:dataset_id>", "dataset", show_dataset)


@needs(Scope.ADMIN)
def show_datasets() -> str:
    """The newest data sets, and what makes another one."""
    return page("data.html", **_listed())


# The form is read as a stream, with its token in it, so that a large zip is held nowhere.
@reads_its_token
@needs(Scope.ADMIN)
def do_upload() -> Response | tuple[str, int]:
    """Takes a zip of class folders."""
    return _made(lambda: dataset_from_upload(_told))


@needs(Scope.ADMIN)
def do_reviews() -> Response | tuple[str, int]:
    """Makes a data set of reviewed images."""
    return _made(lambda: dataset_from_reviews(given(request.form)))


@needs(Scope.ADMIN)
def show_dataset(dataset_id: uuid.UUID) -> str:
    """One data set; asked for again until its import has ended."""
    found = get_dataset(context().sessions, dataset_id)
    template = "dataset_state.html" if request.headers.get("HX-Request") else "dataset.html"
    return page(template, dataset=found, in_words=in_words)


def _told(fields: dict[str, str]) -> Mapping[str, str]:
    """The fields of the upload, once its token has shown that a page of ours sent it."""
    check_token(fields.get("csrf_token"))
    return given(fields)


def _made(make: Callable[[], uuid.UUID]) -> Response | tuple[str, int]:
    try:
        dataset_id = make()
    except PermanentError as error:
        return page("data.html", refusal=error, **_listed()), int(error.http_status)
    return redirect(url_for("console.dataset", dataset_id=dataset_id))


def _listed() -> dict[str, Any]:
    return {"datasets": list_datasets(context().sessions, limit=_LISTED)}
