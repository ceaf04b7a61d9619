"""`/v1/datasets`: make and read data set versions."""

from __future__ import annotations

import uuid
from http import HTTPStatus
from typing import Any, BinaryIO, TypeVar, cast

from apiflask import APIBlueprint
from flask import request
from pydantic import BaseModel, ValidationError

from services.api.auth import actor, requires
from services.api.context import context
from services.api.dataset_schemas import (
    DatasetListOut,
    DatasetListQuery,
    DatasetOut,
    ManifestOut,
    ReviewsIn,
    UploadFields,
    dataset_out,
    dataset_summary,
)
from services.api.dataset_uploads import MEDIA_TYPES, ArchiveUpload, NoArchiveError
from services.api.routes.jobs import FieldError
from services.api.uploads import is_form
from shared.auth.keys import Scope
from shared.datasets.queries import get_dataset, get_record, list_datasets
from shared.datasets.queue import request_reviews, request_upload
from shared.errors import PayloadTooLargeError, PermanentError
from shared.storage import upload_key

bp = APIBlueprint("datasets", __name__, url_prefix="/v1/datasets", tag="Data sets")

Fields = TypeVar("Fields", bound=BaseModel)

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
        dataset_id = _from_reviews()
    elif is_form() or request.mimetype in MEDIA_TYPES:
        dataset_id = _from_upload()
    else:
        raise DatasetMediaTypeError(f"The content type is {request.mimetype or 'not given'}.")
    out = dataset_out(get_dataset(context().sessions, dataset_id))
    headers = {"Location": out.links.self, "Retry-After": _RETRY_AFTER_SECONDS}
    return out.model_dump(mode="json"), 202, headers


def _from_reviews() -> uuid.UUID:
    request.max_content_length = _MAX_JSON_BYTES
    asked = _validated(ReviewsIn, request.get_json())
    return request_reviews(
        context().sessions,
        since=asked.reviews_since,
        base=asked.base,
        name=asked.name,
        actor=actor(),
    )


def _from_upload() -> uuid.UUID:
    """Pass the zip on to the object store, then write what is to become of it."""
    ctx = context()
    upload = _open_upload(ctx.settings.max_dataset_bytes)
    if not is_form():
        _validated(UploadFields, upload.fields)
    dataset_id = uuid.uuid4()
    key = upload_key(dataset_id)
    ctx.storage.put_stream(key, cast(BinaryIO, upload), MEDIA_TYPES[0])
    try:
        if not upload.length:
            raise NoArchiveError
        fields = _validated(UploadFields, upload.fields)
    except PermanentError:
        ctx.storage.delete(key)
        raise
    request_upload(
        ctx.sessions,
        dataset_id,
        name=fields.name,
        locked=fields.locked,
        sha256=upload.sha256,
        length=upload.length,
        actor=actor(),
    )
    return dataset_id


def _open_upload(limit: int) -> ArchiveUpload:
    # Looked at before the limit is raised, so that nothing so large is read to be thrown away.
    if (request.content_length or 0) > limit:
        raise PayloadTooLargeError(f"{request.content_length} bytes; at most {limit}.")
    request.max_content_length = limit
    return ArchiveUpload()


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


def _validated(model: type[Fields], values: Any) -> Fields:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise FieldError("; ".join(faults)) from error
