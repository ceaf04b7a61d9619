"""Data set versions, each the outcome of an import."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import JSON, BigInteger, CheckConstraint, ForeignKey, Index, String, func, text
from sqlalchemy.orm import Mapped, mapped_column

from shared.db.base import Base, one_of
from shared.db.models.jobs import DEFAULT_TENANT

# The schema's own words. The enums of the domain are tested against them.
DATASET_STATUSES = ("queued", "running", "ready", "failed")
DATASET_SOURCES = ("upload", "reviews")


class DatasetRow(Base):
    """A set of labelled images on its way to a version: its own place in the queue of imports.

    Its images are in the object store, under keys made of their content. Once it is ready nothing
    of it changes, unless it is withdrawn because an image of it was erased.
    """

    __tablename__ = "datasets"
    __table_args__ = (
        CheckConstraint(one_of("status", DATASET_STATUSES), name="status_known"),
        CheckConstraint(one_of("source", DATASET_SOURCES), name="source_known"),
        CheckConstraint(
            "(status = 'running') = (lease_expires_at IS NOT NULL)", name="lease_while_running"
        ),
        CheckConstraint("(status = 'running') = (worker IS NOT NULL)", name="worker_while_running"),
        CheckConstraint(
            "(status IN ('queued', 'running')) = (finished_at IS NULL)", name="finished_when_ended"
        ),
        CheckConstraint("(status = 'failed') = (error_code IS NOT NULL)", name="failure_has_code"),
        CheckConstraint("(status = 'ready') = (version IS NOT NULL)", name="version_when_ready"),
        CheckConstraint(
            "num_nonnulls(version, record, statistics, faults, lineage, leaks) IN (0, 6)",
            name="version_is_whole",
        ),
        CheckConstraint(
            "num_nonnulls(upload_sha256, upload_bytes) = CAST(source = 'upload' AS int) * 2",
            name="upload_is_told",
        ),
        CheckConstraint(
            "source = 'reviews' OR num_nonnulls(base_id, reviews_since_id) = 0",
            name="upload_has_no_base",
        ),
        CheckConstraint("failures BETWEEN 0 AND attempts", name="failures_are_attempts"),
        CheckConstraint("withdrawn_at IS NULL OR status = 'ready'", name="withdrawn_when_ready"),
        Index("ix_datasets_open", "due_at", postgresql_where=text("finished_at IS NULL")),
        Index("ix_datasets_created_at", "created_at", "id"),
        Index("ix_datasets_version", "version"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    name: Mapped[str | None]
    source: Mapped[str]
    # A test set: nothing trains on it, and no later version holds what it shows.
    locked: Mapped[bool]
    status: Mapped[str] = mapped_column(server_default="queued")
    base_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("datasets.id"))
    reviews_since_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("datasets.id"))
    # The last review when it was asked for: a later set may ask for those since then.
    reviews_until: Mapped[int] = mapped_column(BigInteger)
    # Whose closed cases it takes.
    tenant: Mapped[str] = mapped_column(server_default=DEFAULT_TENANT)
    upload_sha256: Mapped[str | None] = mapped_column(String(64))
    upload_bytes: Mapped[int | None] = mapped_column(BigInteger)
    attempts: Mapped[int] = mapped_column(server_default="0")
    # Attempts that count against it: a crash, an error that no outage explains.
    failures: Mapped[int] = mapped_column(server_default="0")
    worker: Mapped[str | None]
    lease_expires_at: Mapped[dt.datetime | None]
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
    # From when on it may be taken; after an outage that is a little later.
    due_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
    started_at: Mapped[dt.datetime | None]
    finished_at: Mapped[dt.datetime | None]
    error_code: Mapped[str | None]
    error_detail: Mapped[str | None]
    # SHA-256 over labels and contents; two sets of the same images have the same.
    version: Mapped[str | None] = mapped_column(String(64))
    # JSON and not JSONB: the classes keep their order.
    record: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    statistics: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    faults: Mapped[list[dict[str, Any]] | None] = mapped_column(JSON(none_as_null=True))
    lineage: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    leaks: Mapped[list[dict[str, Any]] | None] = mapped_column(JSON(none_as_null=True))
    withdrawn_at: Mapped[dt.datetime | None]
