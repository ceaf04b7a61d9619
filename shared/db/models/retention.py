"""What is kept from removal, what was removed, and what is still to be removed from the store."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    String,
    Uuid,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from shared.db.base import Base, one_of
from shared.db.models.jobs import DEFAULT_TENANT

# The schema's own words. The enums of the domain are tested against them.
HOLD_KINDS = ("job", "patient_ref", "accession_number")
ERASURE_STATUSES = ("queued", "done", "refused")
REMOVALS = ("erased", "purged")


class LegalHoldRow(Base):
    """Something that nobody removes until the hold is released."""

    __tablename__ = "legal_holds"
    __table_args__ = (
        CheckConstraint(one_of("kind", HOLD_KINDS), name="kind_known"),
        CheckConstraint(
            "(released_at IS NULL) = (released_by IS NULL)", name="released_by_somebody"
        ),
        Index("ix_legal_holds_open", "kind", "value", postgresql_where=text("released_at IS NULL")),
        Index("ix_legal_holds_placed_at", "placed_at", "id"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    tenant: Mapped[str] = mapped_column(server_default=DEFAULT_TENANT)
    kind: Mapped[str]
    # Empty where it named a patient who was erased after its release.
    value: Mapped[str]
    reason: Mapped[str]
    placed_by: Mapped[str]
    placed_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
    released_by: Mapped[str | None]
    released_at: Mapped[dt.datetime | None]


class ErasureRow(Base):
    """The erasure of a patient; it names the patient until it is done, and never again."""

    __tablename__ = "erasures"
    __table_args__ = (
        CheckConstraint(one_of("status", ERASURE_STATUSES), name="status_known"),
        CheckConstraint("(status = 'queued') = (finished_at IS NULL)", name="finished_when_ended"),
        CheckConstraint(
            "(status = 'queued') = (patient_ref IS NOT NULL)", name="patient_until_ended"
        ),
        Index("ix_erasures_queued", "requested_at", postgresql_where=text("status = 'queued'")),
        Index("ix_erasures_requested_at", "requested_at", "id"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    tenant: Mapped[str] = mapped_column(server_default=DEFAULT_TENANT)
    status: Mapped[str] = mapped_column(server_default="queued")
    patient_ref: Mapped[str | None]
    # HMAC-SHA256 of it under the secret of pseudonyms; null without that secret.
    ref_digest: Mapped[str | None] = mapped_column(String(64))
    reason: Mapped[str]
    requested_by: Mapped[str]
    requested_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
    finished_at: Mapped[dt.datetime | None]
    # Rows that were removed, by table.
    counts: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    job_ids: Mapped[list[uuid.UUID]] = mapped_column(ARRAY(Uuid), server_default="{}")
    order_ids: Mapped[list[uuid.UUID]] = mapped_column(ARRAY(Uuid), server_default="{}")
    dataset_ids: Mapped[list[uuid.UUID]] = mapped_column(ARRAY(Uuid), server_default="{}")
    # NAME@VERSION of what was trained on a withdrawn data set.
    models: Mapped[list[str]] = mapped_column(server_default="{}")
    # What it was refused for.
    hold_ids: Mapped[list[uuid.UUID]] = mapped_column(ARRAY(Uuid), server_default="{}")


class RemovedJobRow(Base):
    """A job that was there: what is left of it is that it was removed, and why."""

    __tablename__ = "removed_jobs"
    __table_args__ = (CheckConstraint(one_of("why", REMOVALS), name="why_known"),)

    job_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    # Whose it was.
    tenant: Mapped[str] = mapped_column(server_default=DEFAULT_TENANT)
    why: Mapped[str]
    erasure_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("erasures.id"))
    at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())


class ObjectRemovalRow(Base):
    """An object that is to be removed, written in the transaction that makes it nobody's.

    A key that ends with `/` stands for all objects under it.
    """

    __tablename__ = "object_removals"
    __table_args__ = (Index("ix_object_removals_due_at", "due_at"),)

    key: Mapped[str] = mapped_column(primary_key=True)
    due_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
    # When it is removed once more, for whoever wrote an object late.
    again_at: Mapped[dt.datetime | None]


class PurgeRow(Base):
    """What one pass of the purge did about one kind of data."""

    __tablename__ = "purges"
    __table_args__ = (Index("ix_purges_at", "at"),)

    run_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    # What ended before this moment was due.
    before: Mapped[dt.datetime]
    removed: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
