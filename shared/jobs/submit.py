"""Accepts a job: bytes into the object store, then one transaction, then the message."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from shared import audit
from shared.db.models import JobImageRow, JobRow
from shared.db.session import Sessions
from shared.errors import HemotriageError, IdempotencyConflictError
from shared.jobs.entities import Job, JobRequest, job_from_row
from shared.jobs.ids import new_job_id
from shared.jobs.outbox import announce, send_now
from shared.jobs.states import expiry
from shared.queue.send import Sender
from shared.storage import ObjectStore, image_key


@dataclass(frozen=True)
class Upload:
    """One checked image on its way in; `stream` is seekable. Width and height in pixels."""

    stream: BinaryIO
    sha256: str
    media_type: str
    bytes: int
    width: int
    height: int


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
    with sessions() as session:
        row = session.scalars(
            select(JobRow).where(
                JobRow.api_key_id == request.api_key_id,
                JobRow.idempotency_key == request.idempotency_key,
            )
        ).one_or_none()
        if row is None:
            return None
        if row.request_sha256 != request.request_sha256:
            raise IdempotencyConflictError(f"It belongs to job {row.id}.")
        return job_from_row(row)


def submit(
    sessions: Sessions,
    storage: ObjectStore,
    sender: Sender,
    request: JobRequest,
    uploads: Sequence[Upload],
) -> Submission:
    """Store the images, commit the job with its message, and send the message.

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
        with sessions.begin() as session:
            job = _insert(session, job_id, request, uploads)
    except IntegrityError:
        # After any other error the commit may have reached the database, or the store is down:
        # objects that then belong to no job are removed by the sweep of orphans.
        _discard(storage, job_id, len(uploads))
        # A racing request with the same key won: this one gives its answer.
        if repeated := find_repeated(sessions, request):
            return Submission(repeated, created=False)
        raise
    send_now(sessions, sender, job_id)
    return Submission(job, created=True)


def _insert(
    session: Session, job_id: uuid.UUID, request: JobRequest, uploads: Sequence[Upload]
) -> Job:
    row = JobRow(
        id=job_id,
        api_key_id=request.api_key_id,
        idempotency_key=request.idempotency_key,
        request_sha256=request.request_sha256,
        priority=request.priority,
        model_name=request.model_name,
        model_version=request.model_version,
        accession_number=request.accession_number,
        specimen_id=request.specimen_id,
        patient_ref=request.patient_ref,
        callback_url=request.callback_url,
        expires_at=expiry(request.expire_after_seconds),
        images=[
            JobImageRow(
                index=index,
                object_key=image_key(job_id, index),
                sha256=upload.sha256,
                media_type=upload.media_type,
                bytes=upload.bytes,
                width=upload.width,
                height=upload.height,
            )
            for index, upload in enumerate(uploads)
        ],
    )
    session.add(row)
    announce(session, row)
    audit.record(session, f"key:{request.api_key_id}", "job.submitted", job_id)
    session.refresh(row)
    return job_from_row(row)


def _discard(storage: ObjectStore, job_id: uuid.UUID, count: int) -> None:
    """Remove the objects of a job that was not accepted, as far as the store lets us."""
    for index in range(count):
        try:
            storage.delete(image_key(job_id, index))
        except HemotriageError:
            return
