"""Takes a job in: what the API and the console both do with images and fields."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import BinaryIO

from pydantic import ValidationError

from services.api.auth import current_key
from services.api.context import context
from services.api.fields import FieldError
from services.api.schemas import JobFields
from services.api.uploads import Taken, decoding, take_upload
from shared.errors import (
    BadRequestError,
    PayloadTooLargeError,
    PermanentError,
    TooManyFilesError,
)
from shared.interop.dicom.frames import common
from shared.interop.dicom.read import Inflation
from shared.jobs.entities import JobRequest
from shared.jobs.submit import Submission, Upload, fingerprint, submit
from shared.models.registry import ModelVersion
from shared.orders.entities import Order
from shared.orders.fill import filled, order_of, priority_of
from shared.webhooks.hosts import AllowedHosts

MAX_IDEMPOTENCY_KEY = 255


def job_fields(values: Mapping[str, str]) -> JobFields:
    """The fields of a job as a client has sent them.

    Raises:
        FieldError: One is not valid, or unknown.
        CallbackNotAllowedError: The host of its `callback_url` may not be called.
    """
    try:
        fields = JobFields.model_validate(values)
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise FieldError("; ".join(faults)) from error
    if fields.callback_url is not None:
        AllowedHosts.parse(context().settings.webhook_allowed_hosts).check(fields.callback_url)
    return fields


def accept(
    streams: list[BinaryIO],
    fields: JobFields,
    idempotency_key: str | None,
    *,
    name_of: Callable[[int], str] = "Image {}.".format,
) -> Submission:
    """Make one job of uploaded files, for the key of the running request.

    Args:
        streams: 1 to `settings.max_files` files; DICOM files may have several images.
        fields: What the client says of them.
        idempotency_key: A repetition under it gives the same job.
        name_of: What a refusal calls a file, by its position from 0.

    Raises:
        HemotriageError: One of its subclasses says why the job is not taken.
    """
    ctx = context()
    key = current_key()
    order = order_of(ctx.sessions, fields.accession_number, tenant=key.tenant)
    ctx.admission.admit(key, priority_of(fields.priority, order))
    model = ctx.registry.resolve_for_job(fields.model, random.random())  # noqa: S311 - no secret
    uploads, completed = _taken(streams, fields, name_of)
    order = order or _order_in_headers(fields, completed)
    request = _job_request(completed, order, model, uploads, idempotency_key)
    submission = submit(ctx.sessions, ctx.storage, ctx.outbox, filled(request, order), uploads)
    if submission.created:
        ctx.ends.accepted(submission.job.id, tenant=key.tenant)
    return submission


def _order_in_headers(said: JobFields, completed: JobFields) -> Order | None:
    """The order that DICOM headers name and the client does not, let in by its own priority."""
    if completed.accession_number == said.accession_number:
        return None
    ctx = context()
    order = order_of(ctx.sessions, completed.accession_number, tenant=current_key().tenant)
    priority = priority_of(said.priority, order)
    if priority is not priority_of(said.priority, None):
        ctx.admission.admit(current_key(), priority)
    return order


def _taken(
    streams: list[BinaryIO], fields: JobFields, name_of: Callable[[int], str]
) -> tuple[list[Upload], JobFields]:
    """The images of all files, and the fields with what DICOM headers add to them."""
    settings = context().settings
    inflation = Inflation(settings.max_request_bytes)
    uploads: list[Upload] = []
    instances = []
    for index, stream in enumerate(streams):
        taken = _checked(stream, inflation, name_of(index))
        uploads += taken.uploads
        if taken.instance is not None:
            instances.append(taken.instance)
        if len(uploads) > settings.max_files:
            raise TooManyFilesError(f"{len(uploads)} images; at most {settings.max_files}.")
        if sum(upload.bytes for upload in uploads) > settings.max_request_bytes:
            raise PayloadTooLargeError(f"At most {settings.max_request_bytes} bytes of pixels.")
    return uploads, fields.completed_by(common(instances)) if instances else fields


def _checked(stream: BinaryIO, inflation: Inflation, name: str) -> Taken:
    try:
        return decoding(take_upload, stream, context().settings, inflation)
    except PermanentError as error:
        raise type(error)(f"{name} {error.detail or ''}".strip()) from error


def _is_idempotency_key(text: str) -> bool:
    return 0 < len(text) <= MAX_IDEMPOTENCY_KEY and "\0" not in text  # which no database holds


def _job_request(
    fields: JobFields,
    order: Order | None,
    model: ModelVersion,
    uploads: list[Upload],
    idempotency_key: str | None,
) -> JobRequest:
    if idempotency_key is not None and not _is_idempotency_key(idempotency_key):
        raise BadRequestError(f"Idempotency-Key must have 1 to {MAX_IDEMPOTENCY_KEY} characters.")
    described = sorted(fields.model_dump(mode="json").items())
    return JobRequest(
        api_key_id=current_key().id,
        tenant=current_key().tenant,
        model_name=model.name,
        model_version=model.version,
        priority=priority_of(fields.priority, order),
        accession_number=fields.accession_number,
        specimen_id=fields.specimen_id,
        patient_ref=fields.patient_ref,
        callback_url=fields.callback_url,
        idempotency_key=idempotency_key,
        expire_after_seconds=context().settings.expire_after_seconds,
        request_sha256=fingerprint(described, [upload.sha256 for upload in uploads]),
    )
