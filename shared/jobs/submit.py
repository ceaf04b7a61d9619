"""Accepts a job: bytes into the object store, then one transaction, then the message."""

from __future__ import annotations

import hashlib
import json
import logging
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import BinaryIO

from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from shared.db.models import JobRow
from shared.db.session import Sessions, execute
from shared.errors import HemotriageError, IdempotencyConflictError
from shared.interop.sources import DicomSource
from shared.jobs.entities import Job, JobImage, JobRequest, job_from_row
from shared.jobs.ids import new_job_id
from shared.jobs.outbox import RELAY_AFTER_SECONDS, Message, Outbox
from shared.jobs.queries import whole_jobs
from shared.jobs.states import Status
from shared.storage import ObjectStore, image_key
from shared.telemetry.about import Origin, ids_of, noted
from shared.telemetry.tracing import traceparent

_log = logging.getLogger(__name__)

_INSERT = text(
    """
    WITH job AS (
        INSERT INTO jobs (
            id, api_key_id, idempotency_key, request_sha256, priority, model_name, model_version,
            accession_number, specimen_id, patient_ref, callback_url, tenant, request_id,
            traceparent, expires_at, queued_at
        ) VALUES (
            :job_id, :api_key_id, :idempotency_key, :request_sha256, :priority, :model_name,
            :model_version, :accession_number, :specimen_id, :patient_ref, :callback_url, :tenant,
            :request_id, :traceparent,
            clock_timestamp() + make_interval(secs => :expire_after_seconds), clock_timestamp()
        )
        RETURNING submitted_at, queued_at
    ), images AS (
        INSERT INTO job_images
        SELECT (jsonb_populate_record(NULL::job_images, image)).*
        FROM jsonb_array_elements(CAST(:images AS jsonb)) AS image
    ), sources AS (
        INSERT INTO dicom_sources
        SELECT (jsonb_populate_record(NULL::dicom_sources, source)).*
        FROM jsonb_array_elements(CAST(:sources AS jsonb)) AS source
    ), message AS (
        INSERT INTO outbox (job_id, queue, send_after)
        VALUES (:job_id, :priority, clock_timestamp() + make_interval(secs => :relay_after))
        RETURNING id
    ), event AS (
        INSERT INTO audit_events (actor, action, job_id, details)
        VALUES (:actor, 'job.submitted', :job_id, :details)
    )
    SELECT job.submitted_at, job.queued_at, message.id AS message_id FROM job, message
    """
)
"""One statement, and so one transaction in one round trip."""


@dataclass(frozen=True)
class Upload:
    """One checked image on its way in; `stream` is seekable. Width and height in pixels.

    `source` is where a DICOM frame came from; its index becomes that of the image in its job.
    """

    stream: BinaryIO
    sha256: str
    media_type: str
    bytes: int
    width: int
    height: int
    source: DicomSource | None = None


@dataclass(frozen=True)
class Submission:
    """The accepted job; `created` is False where an idempotency key found an earlier one."""

    job: Job
    created: bool


def fingerprint(fields: Sequence[tuple[str, str | None]], hashes: Sequence[str]) -> str:
    """SHA-256 of a request's content: its fields and its images, in order."""
    digest = hashlib.sha256()
    for name, value in fields:
        digest.update(f"{name}={value!r};".encode())
    for image_hash in hashes:
        digest.update(image_hash.encode())
    return digest.hexdigest()


def find_repeated(sessions: Sessions, request: JobRequest) -> Job | None:
    """Find the job that the same idempotency key made before.

    Raises:
        IdempotencyConflictError: The key was used for another request.
    """
    if request.idempotency_key is None:
        return None
    statement = whole_jobs().where(
        JobRow.api_key_id == request.api_key_id,
        JobRow.idempotency_key == request.idempotency_key,
    )
    rows = execute(sessions, statement)
    if not rows:
        return None
    job = job_from_row(rows[0])
    if job.request_sha256 != request.request_sha256:
        raise IdempotencyConflictError(f"It belongs to job {job.id}.")
    return job


def submit(
    sessions: Sessions,
    storage: ObjectStore,
    outbox: Outbox,
    request: JobRequest,
    uploads: Sequence[Upload],
) -> Submission:
    """Store the images, commit the job with its message, and have the message sent.

    The job is accepted once the transaction commits, whether or not the broker answers.

    Raises:
        IdempotencyConflictError: The idempotency key was used for another request.
        StorageUnavailableError: The images could not be stored; nothing was accepted.
    """
    if repeated := find_repeated(sessions, request):
        return Submission(repeated, created=False)
    job_id = new_job_id()
    try:
        for index, upload in enumerate(uploads):
            upload.stream.seek(0)
            storage.put(image_key(job_id, index), upload.stream, upload.bytes, upload.media_type)
        job, message = _insert(sessions, job_id, request, uploads)
    except IntegrityError:
        # After any other error the commit may have reached the database, or the store is down:
        # objects that then belong to no job are removed by the sweep of orphans.
        _discard(storage, job_id, len(uploads))
        # A racing request with the same key won: this one gives its answer.
        if repeated := find_repeated(sessions, request):
            return Submission(repeated, created=False)
        raise
    _log.info("job accepted", extra=ids_of(job_id, message.origin))
    outbox.send(message)
    return Submission(job, created=True)


def _insert(
    sessions: Sessions, job_id: uuid.UUID, request: JobRequest, uploads: Sequence[Upload]
) -> tuple[Job, Message]:
    """Write the job, its images, its message and its audit event, all or nothing."""
    images = tuple(
        JobImage(
            index=index,
            object_key=image_key(job_id, index),
            sha256=upload.sha256,
            media_type=upload.media_type,
            bytes=upload.bytes,
            width=upload.width,
            height=upload.height,
        )
        for index, upload in enumerate(uploads)
    )
    sources = [
        {"job_id": str(job_id), **asdict(replace(upload.source, index=index))}
        for index, upload in enumerate(uploads)
        if upload.source is not None
    ]
    origin = Origin(noted().get("request_id"), traceparent())
    values = {
        **vars(request),
        **vars(origin),
        "job_id": str(job_id),
        "images": json.dumps([{"job_id": str(job_id), **vars(image)} for image in images]),
        "sources": json.dumps(sources),
        "actor": f"key:{request.api_key_id}",
        "details": json.dumps({"request_id": origin.request_id}),
        "relay_after": RELAY_AFTER_SECONDS,
    }
    (row,) = execute(sessions, _INSERT, values)
    job = Job(
        id=job_id,
        tenant=request.tenant,
        status=Status.QUEUED,
        priority=request.priority,
        model_name=request.model_name,
        model_version=request.model_version,
        accession_number=request.accession_number,
        specimen_id=request.specimen_id,
        patient_ref=request.patient_ref,
        request_id=origin.request_id,
        request_sha256=request.request_sha256,
        submitted_at=row.submitted_at,
        started_at=None,
        finished_at=None,
        attempts=0,
        error=None,
        images=images,
        result=None,
    )
    return job, Message(row.message_id, job_id, request.priority, row.queued_at, origin)


def _discard(storage: ObjectStore, job_id: uuid.UUID, count: int) -> None:
    """Remove the objects of a job that was not accepted, as far as the store lets us."""
    for index in range(count):
        try:
            storage.delete(image_key(job_id, index))
        except HemotriageError:
            return
