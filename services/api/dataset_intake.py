"""Takes what a data set is made of, whether a client or a page of the console sends it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, TypeVar, cast

from flask import request
from pydantic import BaseModel, ValidationError

from services.api.auth import actor
from services.api.context import context
from services.api.dataset_schemas import ReviewsIn, UploadFields
from services.api.dataset_uploads import MEDIA_TYPES, ArchiveUpload, NoArchiveError
from services.api.fields import FieldError, refuse_query
from services.api.uploads import is_form
from shared.datasets.queue import request_reviews, request_upload
from shared.errors import PayloadTooLargeError
from shared.storage import upload_key

Fields = TypeVar("Fields", bound=BaseModel)

Told = Callable[[dict[str, str]], Mapping[str, str]]
"""Takes the fields of a form, and gives those that say something of the data set."""


def dataset_from_upload(told: Told = dict) -> uuid.UUID:
    """Pass the zip of the running request on to the object store, and ask for its import.

    Args:
        told: Called once all fields are there; what it raises refuses the upload.

    Raises:
        PayloadTooLargeError: It has too many bytes.
        NoArchiveError: There is none.
        FieldError: A field is not valid, sent more than once, or in the query of a form.
        BadRequestError: The form is malformed.
    """
    if is_form():
        refuse_query("the form")
    ctx = context()
    upload = _open_upload(ctx.settings.max_dataset_bytes)
    if not is_form():
        validated(UploadFields, told(upload.fields))
    dataset_id = uuid.uuid4()
    key = upload_key(dataset_id)
    ctx.storage.put_stream(key, cast(BinaryIO, upload), MEDIA_TYPES[0])
    try:
        if not upload.length:
            raise NoArchiveError
        fields = validated(UploadFields, told(upload.fields))
    except Exception:  # whatever it is refused for, it is not kept
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


def dataset_from_reviews(values: Any) -> uuid.UUID:
    """Ask for a data set of reviewed images.

    Args:
        values: Plain data, as `ReviewsIn` takes it.

    Raises:
        FieldError: It is not valid.
        PermanentError: As of `request_reviews`.
    """
    asked = validated(ReviewsIn, values)
    return request_reviews(
        context().sessions,
        since=asked.reviews_since,
        base=asked.base,
        name=asked.name,
        tenant=asked.tenant,
        actor=actor(),
    )


def validated(model: type[Fields], values: Any) -> Fields:
    """What was sent, as a model has it.

    Raises:
        FieldError: It is not valid; its detail names each field that is not.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise FieldError("; ".join(faults)) from error


def _open_upload(limit: int) -> ArchiveUpload:
    # Looked at before the limit is raised, so that nothing so large is read to be thrown away.
    if (request.content_length or 0) > limit:
        raise PayloadTooLargeError(f"{request.content_length} bytes; at most {limit}.")
    request.max_content_length = limit
    return ArchiveUpload()
