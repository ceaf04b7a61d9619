"""Results, and what is said of them."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Computed,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    String,
    false,
    func,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from shared.db.base import Base, one_of
from shared.db.models.jobs import DEFAULT_TENANT

# The schema's own words. The enums of the domains are tested against them.
URGENCIES = ("urgent", "priority", "review", "routine")
DECISIONS = ("confirm", "override")
REVIEW_LABELS = ("Benign", "Early", "Pre", "Pro", "other")
CASE_STATES = ("unread", "second_reading", "disagreement", "closed")
LEVELS = ("ok", "watch", "alert", "too_few", "no_reference")
EXPLANATION_STATUSES = ("queued", "running", "succeeded", "failed")
EXPLANATION_METHODS = ("gradcam", "lime")

# In UTC, because PostgreSQL lets no generated column depend on the time zone of a session.
DUE_AT = (
    "(created_at AT TIME ZONE 'UTC'"
    " + make_interval(secs => (document ->> 'within_hours')::double precision * 3600))"
    " AT TIME ZONE 'UTC'"
)


class ResultRow(Base):
    """The triage result of a job. Its primary key is what makes a second result impossible."""

    __tablename__ = "results"
    __table_args__ = (
        CheckConstraint(one_of("urgency", URGENCIES), name="urgency_known"),
        CheckConstraint("confidence BETWEEN 0 AND 1", name="confidence_is_probability"),
        CheckConstraint(one_of("case_state", CASE_STATES), name="case_state_known"),
        CheckConstraint(one_of("case_label", REVIEW_LABELS), name="case_label_known"),
        CheckConstraint(
            "(case_state = 'closed') = (case_label IS NOT NULL)", name="label_when_closed"
        ),
        CheckConstraint("(held_by IS NULL) = (held_until IS NULL)", name="hold_is_whole"),
        Index("ix_results_tenant_urgency", "tenant", "urgency"),
        Index("ix_results_tenant_created_at", "tenant", "created_at"),
        Index("ix_results_created_at", "created_at", "job_id"),
        # What waits for a reader, in the order in which it is to be read.
        Index(
            "ix_results_tenant_open",
            "tenant",
            "urgency",
            "due_at",
            "created_at",
            postgresql_where=text("case_state <> 'closed'"),
        ),
        Index("ix_results_held_by", "held_by", postgresql_where=text("held_by IS NOT NULL")),
    )

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    prediction: Mapped[str]
    confidence: Mapped[float]
    urgency: Mapped[str]
    requires_review: Mapped[bool]
    policy_version: Mapped[str]
    # JSON and not JSONB: the classes keep their order.
    document: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
    # The end of the timeline; null: it has no deadline.
    due_at: Mapped[dt.datetime | None] = mapped_column(Computed(DUE_AT, persisted=True))
    # How far readers have come, and the label that they closed the case with.
    case_state: Mapped[str] = mapped_column(server_default="unread")
    case_label: Mapped[str | None]
    # The reader to whom it is offered, and until when it is offered to nobody else.
    held_by: Mapped[str | None] = mapped_column(String(16), ForeignKey("api_keys.id"))
    held_until: Mapped[dt.datetime | None]
    # That of its job, so that a worklist reads no row of another tenant.
    tenant: Mapped[str] = mapped_column(server_default=DEFAULT_TENANT)


class ReviewRow(Base):
    """What a reviewer says of a job's result. Only ever added to; the newest of a reader counts."""

    __tablename__ = "reviews"
    __table_args__ = (
        CheckConstraint(one_of("decision", DECISIONS), name="decision_known"),
        CheckConstraint(one_of("label", REVIEW_LABELS), name="label_known"),
        Index("ix_reviews_job_id", "job_id", "id"),
        Index("ix_reviews_at", "at"),
        Index("ix_reviews_api_key_id", "api_key_id", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("results.job_id"))
    decision: Mapped[str]
    # The prediction where it was confirmed.
    label: Mapped[str]
    comment: Mapped[str | None]
    api_key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id"))
    at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
    # Whether a second reader is to sign too.
    asks_second: Mapped[bool] = mapped_column(server_default=false())


class ExplanationRow(Base):
    """What is to explain a field's prediction: its own place in the queue of its method.

    Its picture is in the object store, under a key made of the primary key and `png_sha256`.
    """

    __tablename__ = "explanations"
    __table_args__ = (
        ForeignKeyConstraint(
            ["job_id", "image_index"],
            ["job_images.job_id", "job_images.index"],
        ),
        CheckConstraint(one_of("method", EXPLANATION_METHODS), name="method_known"),
        CheckConstraint(one_of("status", EXPLANATION_STATUSES), name="status_known"),
        CheckConstraint("progress BETWEEN 0 AND 1", name="progress_is_fraction"),
        CheckConstraint(
            "(status = 'running') = (lease_expires_at IS NOT NULL)", name="lease_while_running"
        ),
        CheckConstraint("(status = 'running') = (worker IS NOT NULL)", name="worker_while_running"),
        CheckConstraint(
            "(status IN ('queued', 'running')) = (finished_at IS NULL)", name="finished_when_ended"
        ),
        CheckConstraint("(status = 'failed') = (error_code IS NOT NULL)", name="failure_has_code"),
        CheckConstraint("(status = 'succeeded') = (document IS NOT NULL)", name="answer_is_whole"),
        CheckConstraint(
            "(document IS NULL) = (png_sha256 IS NULL)", name="picture_comes_with_document"
        ),
        CheckConstraint("failures BETWEEN 0 AND attempts", name="failures_are_attempts"),
        CheckConstraint("asked OR wanted_at IS NULL", name="whoever_waits_has_asked"),
        Index(
            "ix_explanations_open",
            "method",
            text("asked DESC"),
            text("wanted_at DESC NULLS LAST"),
            "due_at",
            postgresql_where=text("finished_at IS NULL"),
        ),
    )

    job_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    image_index: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    method: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[str] = mapped_column(server_default="queued")
    # Between 0 and 1, of the attempt that runs.
    progress: Mapped[float] = mapped_column(server_default="0")
    attempts: Mapped[int] = mapped_column(server_default="0")
    # Attempts that count against it: a crash, a hang, an error that no outage explains.
    failures: Mapped[int] = mapped_column(server_default="0")
    # False where it is to be made unasked, after all that somebody asked for.
    asked: Mapped[bool] = mapped_column(server_default=true())
    # When a client last began to wait for it.
    wanted_at: Mapped[dt.datetime | None]
    worker: Mapped[str | None]
    lease_expires_at: Mapped[dt.datetime | None]
    requested_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
    # From when on it may be taken; after an outage that is a little later.
    due_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
    started_at: Mapped[dt.datetime | None]
    finished_at: Mapped[dt.datetime | None]
    error_code: Mapped[str | None]
    error_detail: Mapped[str | None]
    # JSON and not JSONB: the figures keep their order.
    document: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    png_sha256: Mapped[str | None] = mapped_column(String(64))


class DriftWindowRow(Base):
    """One look at the results of a span of time."""

    __tablename__ = "drift_windows"
    __table_args__ = (Index("ix_drift_windows_window_to", "window_to"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    window_from: Mapped[dt.datetime]
    window_to: Mapped[dt.datetime]
    # Counts of the results by model, prediction, urgency and requires_review.
    results: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)


class DriftMeasureRow(Base):
    """How far one measure of one model version had drifted in a window."""

    __tablename__ = "drift_measures"
    __table_args__ = (
        CheckConstraint(one_of("level", LEVELS), name="level_known"),
        CheckConstraint("ks BETWEEN 0 AND 1", name="ks_is_distance"),
        CheckConstraint("ks_p BETWEEN 0 AND 1", name="ks_p_is_probability"),
    )

    window_id: Mapped[int] = mapped_column(
        ForeignKey("drift_windows.id", ondelete="CASCADE"), primary_key=True
    )
    model_name: Mapped[str] = mapped_column(primary_key=True)
    model_version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    measure: Mapped[str] = mapped_column(primary_key=True)
    fields: Mapped[int]
    psi: Mapped[float | None]
    noise: Mapped[float | None]
    ks: Mapped[float | None]
    ks_p: Mapped[float | None]
    level: Mapped[str]
    # An alert begins at the level of that name and lasts until the measure is calm.
    alert: Mapped[bool]
