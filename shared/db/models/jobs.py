"""Keys, jobs, and what is to be sent or kept of them."""

from __future__ import annotations

import datetime as dt
import uuid

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    String,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from shared.db.base import Base, one_of

# The schema's own words. The enums of the domains are tested against them.
STATUSES = ("queued", "running", "succeeded", "failed", "cancelled", "dead")
PRIORITIES = ("stat", "urgent", "routine")
SCOPES = ("submit", "read", "review", "admin")
DEFAULT_TENANT = "default"


class ApiKeyRow(Base):
    """An API key; of its secret, only the hash is kept."""

    __tablename__ = "api_keys"
    __table_args__ = (
        CheckConstraint(
            f"scopes <@ ARRAY[{', '.join(repr(scope) for scope in SCOPES)}]::text[]",
            name="scopes_known",
        ),
        CheckConstraint("jobs_per_minute > 0", name="rate_positive"),
        CheckConstraint("(issuer IS NULL) = (subject IS NULL)", name="identity_is_whole"),
        UniqueConstraint("issuer", "subject", "tenant"),
        CheckConstraint("tenant ~ '^[a-z0-9][a-z0-9-]{0,31}$'", name="tenant_named"),
        CheckConstraint(
            "tenant = 'default' OR NOT ('admin' = ANY (scopes))", name="admin_of_default"
        ),
    )

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str]
    # Deferred: a row is read without it, by who may not see it too.
    secret_sha256: Mapped[str] = mapped_column(String(64), deferred=True)
    scopes: Mapped[list[str]]
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
    jobs_per_minute: Mapped[int | None]
    expires_at: Mapped[dt.datetime | None]
    revoked_at: Mapped[dt.datetime | None]
    # Networks that it may be used from; null: from anywhere.
    allowed_hosts: Mapped[list[str] | None]
    # The key that it takes the place of.
    successor_of: Mapped[str | None] = mapped_column(ForeignKey("api_keys.id"))
    # Of somebody who signs in elsewhere: who vouches, and for whom. No secret leads to it.
    issuer: Mapped[str | None]
    subject: Mapped[str | None]
    # Whose cases it is for; it never changes.
    tenant: Mapped[str] = mapped_column(server_default=DEFAULT_TENANT)


class JobRow(Base):
    """One accepted request: one specimen, one or more fields, one result."""

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint(one_of("status", STATUSES), name="status_known"),
        CheckConstraint(one_of("priority", PRIORITIES), name="priority_known"),
        CheckConstraint(
            "(status = 'running') = (lease_expires_at IS NOT NULL)", name="lease_while_running"
        ),
        CheckConstraint("(status = 'running') = (worker IS NOT NULL)", name="worker_while_running"),
        CheckConstraint(
            "(status IN ('queued', 'running')) = (finished_at IS NULL)", name="finished_when_ended"
        ),
        CheckConstraint(
            "status NOT IN ('failed', 'dead') OR error_code IS NOT NULL", name="failure_has_code"
        ),
        CheckConstraint("failures BETWEEN 0 AND attempts", name="failures_are_attempts"),
        UniqueConstraint("api_key_id", "idempotency_key"),
        Index("ix_jobs_api_key_id_submitted_at", "api_key_id", "submitted_at"),
        Index("ix_jobs_tenant_submitted_at_id", "tenant", "submitted_at", "id"),
        Index("ix_jobs_tenant_accession_number", "tenant", "accession_number"),
        Index(
            "ix_jobs_unsuccessful",
            "tenant",
            "finished_at",
            postgresql_where=text("status IN ('failed', 'dead')"),
        ),
        Index("ix_jobs_dead", "error_code", postgresql_where=text("status = 'dead'")),
        Index("ix_jobs_lease", "lease_expires_at", postgresql_where=text("status = 'running'")),
        Index(
            "ix_jobs_queued", "priority", "queued_at", postgresql_where=text("status = 'queued'")
        ),
        Index("ix_jobs_expires_at", "expires_at", postgresql_where=text("status = 'queued'")),
        Index(
            "ix_jobs_patient_ref", "patient_ref", postgresql_where=text("patient_ref IS NOT NULL")
        ),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    api_key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id"))
    idempotency_key: Mapped[str | None]
    request_sha256: Mapped[str] = mapped_column(String(64))
    status: Mapped[str] = mapped_column(server_default="queued")
    priority: Mapped[str]
    model_name: Mapped[str]
    model_version: Mapped[int]
    accession_number: Mapped[str | None]
    specimen_id: Mapped[str | None]
    patient_ref: Mapped[str | None]
    callback_url: Mapped[str | None]
    submitted_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
    queued_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
    # Until when it may wait; then it is dead.
    expires_at: Mapped[dt.datetime] = mapped_column(
        server_default=text("now() + interval '3 days'")
    )
    started_at: Mapped[dt.datetime | None]
    finished_at: Mapped[dt.datetime | None]
    attempts: Mapped[int] = mapped_column(server_default="0")
    # Attempts that count against the job: a crash, a hang, an error that no outage explains.
    failures: Mapped[int] = mapped_column(server_default="0")
    # Was in the hands of a worker that crashed or hung: runs alone from then on.
    isolated: Mapped[bool] = mapped_column(server_default="false")
    worker: Mapped[str | None]
    lease_expires_at: Mapped[dt.datetime | None]
    error_code: Mapped[str | None]
    error_detail: Mapped[str | None]
    # Of the call that it came with; the second by W3C Trace Context.
    request_id: Mapped[str | None]
    traceparent: Mapped[str | None]
    # That of its key.
    tenant: Mapped[str] = mapped_column(server_default=DEFAULT_TENANT)


class JobImageRow(Base):
    """One image of a job; its bytes are in the object store under `object_key` until a purge."""

    __tablename__ = "job_images"
    __table_args__ = (
        Index("ix_job_images_kept", "job_id", postgresql_where=text("purged_at IS NULL")),
    )

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    index: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    object_key: Mapped[str]
    sha256: Mapped[str] = mapped_column(String(64))
    media_type: Mapped[str]
    bytes: Mapped[int] = mapped_column(BigInteger)
    width: Mapped[int]
    height: Mapped[int]
    purged_at: Mapped[dt.datetime | None]


class DicomSourceRow(Base):
    """The DICOM instance and the frame, counted from 1, that an image of a job was."""

    __tablename__ = "dicom_sources"
    __table_args__ = (
        CheckConstraint("frame > 0", name="frame_positive"),
        ForeignKeyConstraint(["job_id", "index"], ["job_images.job_id", "job_images.index"]),
        Index("ix_dicom_sources_study_uid", "study_uid"),
        Index("ix_dicom_sources_instance_uid", "instance_uid"),
    )

    job_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    index: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    study_uid: Mapped[str]
    series_uid: Mapped[str]
    instance_uid: Mapped[str]
    sop_class_uid: Mapped[str]
    frame: Mapped[int]


class OutboxRow(Base):
    """A message that must reach the broker, written in the transaction that makes it true."""

    __tablename__ = "outbox"
    __table_args__ = (
        CheckConstraint(one_of("queue", PRIORITIES), name="queue_known"),
        Index("ix_outbox_send_after", "send_after"),
        Index("ix_outbox_job_id", "job_id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"))
    queue: Mapped[str]
    send_after: Mapped[dt.datetime] = mapped_column(server_default=func.now())


class WebhookRow(Base):
    """An event that a client is to be told of, written in the transaction that makes it true.

    It is due while `next_attempt_at` is set. Without it, it was delivered or given up.
    """

    __tablename__ = "webhooks"
    __table_args__ = (
        CheckConstraint(
            "next_attempt_at IS NULL OR delivered_at IS NULL", name="due_until_delivered"
        ),
        Index(
            "ix_webhooks_due",
            "next_attempt_at",
            postgresql_where=text("next_attempt_at IS NOT NULL"),
        ),
        Index("ix_webhooks_job_id", "job_id"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"))
    event: Mapped[str]
    url: Mapped[str]
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
    attempts: Mapped[int] = mapped_column(server_default="0")
    next_attempt_at: Mapped[dt.datetime | None] = mapped_column(
        server_default=func.clock_timestamp()
    )
    delivered_at: Mapped[dt.datetime | None]
    last_error: Mapped[str | None]
