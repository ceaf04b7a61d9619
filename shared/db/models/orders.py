"""Orders: cases that are expected."""

from __future__ import annotations

import datetime as dt
import uuid

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from shared.db.base import Base, one_of
from shared.db.models.jobs import DEFAULT_TENANT, PRIORITIES

ORDER_STATES = ("expected", "claimed", "completed", "cancelled")


class OrderRow(Base):
    """What a hospital has ordered under an accession number, whether or not images have come.

    `claimed` by another performer under its `transaction_uid`, `completed` by that performer.
    What our own jobs make of an expected order is read from the jobs with its accession number.
    """

    __tablename__ = "orders"
    __table_args__ = (
        CheckConstraint(one_of("state", ORDER_STATES), name="state_known"),
        CheckConstraint(one_of("priority", PRIORITIES), name="priority_known"),
        CheckConstraint(
            "state <> 'claimed' OR (transaction_uid IS NOT NULL AND performer IS NOT NULL)",
            name="claimed_by_somebody",
        ),
        UniqueConstraint("tenant", "accession_number"),
        Index("ix_orders_tenant_created_at_id", "tenant", "created_at", "id"),
        Index("ix_orders_tenant_state", "tenant", "state", "created_at"),
        Index(
            "ix_orders_patient_ref",
            "patient_ref",
            postgresql_where=text("patient_ref IS NOT NULL"),
        ),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    api_key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id"))
    accession_number: Mapped[str]
    state: Mapped[str] = mapped_column(server_default="expected")
    priority: Mapped[str]
    specimen_id: Mapped[str | None]
    # A pseudonym, as of a job.
    patient_ref: Mapped[str | None]
    study_uid: Mapped[str | None]
    procedure_code: Mapped[str | None]
    procedure_system: Mapped[str | None]
    # Application and facility that ordered, and the numbers that results repeat to them.
    placer: Mapped[str | None]
    placer_number: Mapped[str | None]
    filler_number: Mapped[str | None]
    scheduled_at: Mapped[dt.datetime | None]
    # Of another performer of this order: the secret by which it goes on, and its key.
    transaction_uid: Mapped[str | None]
    performer: Mapped[str | None] = mapped_column(String(16), ForeignKey("api_keys.id"))
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
    # Whose accession number it is: two hospitals may count alike.
    tenant: Mapped[str] = mapped_column(server_default=DEFAULT_TENANT)
