"""The audit trail: its events, the chain that seals them, and checkpoints of the chain."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Index, LargeBinary, UniqueConstraint, func
from sqlalchemy.orm import Mapped, mapped_column

from shared.db.base import Base


class AuditRow(Base):
    """Who did what to which job, when. Only ever added to.

    A new column must be null in the rows that are there, and a name in `shared.audit.chain.FIELDS`.
    """

    __tablename__ = "audit_events"
    __table_args__ = (
        Index("ix_audit_events_job_id", "job_id"),
        # With every call in it, whoever asks for an actor or an action finds few among many.
        Index("ix_audit_events_actor", "actor", "id"),
        Index("ix_audit_events_action", "action", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
    actor: Mapped[str]
    action: Mapped[str]
    job_id: Mapped[uuid.UUID | None]
    details: Mapped[dict[str, Any]] = mapped_column(server_default="{}")


class AuditSealRow(Base):
    """The place of an event in the chain, and the hash of the chain up to there.

    No foreign key leads to the event: a seal must outlast an event that somebody removes.
    """

    __tablename__ = "audit_seals"
    __table_args__ = (
        CheckConstraint("position > 0", name="position_positive"),
        CheckConstraint("octet_length(hash) = 32", name="hash_is_sha256"),
        UniqueConstraint("event_id"),
    )

    position: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    event_id: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[bytes] = mapped_column(LargeBinary)


class AuditCheckpointRow(Base):
    """What the hash of the chain was at a position, signed where there is a key."""

    __tablename__ = "audit_checkpoints"
    __table_args__ = (
        CheckConstraint("octet_length(hash) = 32", name="hash_is_sha256"),
        CheckConstraint("(key_id IS NULL) = (signature IS NULL)", name="signed_by_a_key"),
    )

    position: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    hash: Mapped[bytes] = mapped_column(LargeBinary)
    at: Mapped[dt.datetime]
    key_id: Mapped[str | None]
    signature: Mapped[bytes | None] = mapped_column(LargeBinary)
