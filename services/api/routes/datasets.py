"""`/v1/datasets`: make and read data set versions."""

from __future__ import annotations

import uuid
from http import HTTPStatus
from typing import Any

from apiflask import APIBlueprint
from flask import request

from services.api.auth import requires
from services.api.context import context
from services.api.dataset_intake import dataset_from_reviews, dataset_from_upload
from services.api.dataset_schemas import (
    DatasetListOut,
    DatasetListQuery,
    DatasetOut,
    ManifestOut,
    dataset_out,
    dataset_summary,
)
from services.api.dataset_uploads import MEDIA_TYPES
from services.api.fields import refuse_query
from services.api.uploads import is_form
from shared.auth.keys import Scope
from shared.datasets.queries import get_dataset, get_record, list_datasets
from shared.errors import PermanentError

bp = APIBlueprint("datasets", __name__, url_prefix="/v1/datasets", tag="Data sets")

_JSON = "application/json"
_MAX_JSON_BYTES = 64 * 1024
_RETRY_AFTER_SECONDS = "2"


class DatasetMediaTypeError(PermanentError):
    """Send a zip as `application/zip` or in a form, or JSON."""

    code = "unsupported_media_type"
    http_status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


@bp.post("")
@requires(Scope.ADMIN)
@bp.output(DatasetOut, status_code=202, description="Taken; its import is to be polled.")
@bp.doc(
    summary="Make a data set version",
    responses=[400, 404, 409, 413, 415, 422],
    security="bearer",
)
def post_dataset() -> tuple[dict[str, Any], int, dict[str, str]]:
    """From a zip of class folders, or from reviewed images of jobs. Scope `admin`.

    A zip is the body, with `name` and `locked` in the query, or the field `file` of a form. JSON
    asks for the images of jobs that were reviewed. The same images give the same version: `same_as`
    then names the data set that had it first.
    """
    if request.mimetype == _JSON:
        refuse_query("the body")
        request.max_content_length = _MAX_JSON_BYTES
        dataset_id = dataset_from_reviews(request.get_json())
    elif is_form() or request.mimetype in MEDIA_TYPES:
        dataset_id = dataset_from_upload()
    else:
        raise DatasetMediaTypeError(f"The content type is {request.mimetype or 'not given'}.")
    out = dataset_out(get_dataset(context().sessions, dataset_id))
    headers = {"Location": out.links.self, "Retry-After": _RETRY_AFTER_SECONDS}
    return out.model_dump(mode="json"), 202, headers


@bp.get("")
@requires(Scope.ADMIN)
@bp.input(DatasetListQuery, location="query", arg_name="query")
@bp.output(DatasetListOut)
@bp.doc(summary="List data sets, newest first", security="bearer")
def read_datasets(query: DatasetListQuery) -> dict[str, Any]:
    """The newest, in whatever state. Scope `admin`."""
    found = list_datasets(context().sessions, limit=query.limit)
    out = DatasetListOut(datasets=[dataset_summary(dataset) for dataset in found])
    return out.model_dump(mode="json")


@bp.get("/<uuid:dataset_id>")
@requires(Scope.ADMIN)
@bp.output(DatasetOut)
@bp.doc(summary="Read a data set", responses=[404], security="bearer")
def read_dataset(dataset_id: uuid.UUID) -> tuple[dict[str, Any], int, dict[str, str]]:
    """Where it stands and, once it is ready, its version with all about it. Scope `admin`."""
    found = get_dataset(context().sessions, dataset_id)
    headers = {} if found.status.is_final else {"Retry-After": _RETRY_AFTER_SECONDS}
    return dataset_out(found).model_dump(mode="json"), 200, headers


@bp.get("/<uuid:dataset_id>/manifest")
@requires(Scope.ADMIN)
@bp.output(ManifestOut)
@bp.doc(summary="Read what is in a version", responses=[404, 409], security="bearer")
def read_manifest(dataset_id: uuid.UUID) -> dict[str, Any]:
    """Each image with its label, content hash and group; it never changes. Scope `admin`."""
    return ManifestOut(**get_record(context().sessions, dataset_id)).model_dump(mode="json")
