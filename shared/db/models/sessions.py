"""Sessions of the console that have ended before their time."""

from __future__ import annotations

import datetime as dt
import uuid

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from shared.db.base import Base


class EndedSessionRow(Base):
    """A session that somebody signed out of: its cookie, where a copy is left, opens nothing."""

    __tablename__ = "ended_sessions"
    __table_args__ = (Index("ix_ended_sessions_until", "until"),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    # When the cookie would have ended by itself; then nobody needs to know any more.
    until: Mapped[dt.datetime]
