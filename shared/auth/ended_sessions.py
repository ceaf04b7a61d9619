"""Sessions that somebody signed out of, while copies of their cookies may be about."""

from __future__ import annotations

import datetime as dt
import uuid

from sqlalchemy import bindparam, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from shared.db.models import EndedSessionRow
from shared.db.session import Sessions, execute

_BY_ID = select(EndedSessionRow.id).where(EndedSessionRow.id == bindparam("session_id"))


def end_session(session: Session, session_id: uuid.UUID, until: dt.datetime) -> None:
    """Remember, in an open transaction, that a session has ended; retention forgets it later."""
    statement = insert(EndedSessionRow).values(id=session_id, until=until)
    session.execute(statement.on_conflict_do_nothing())


def has_ended(sessions: Sessions, session_id: uuid.UUID) -> bool:
    """Whether somebody signed out of a session."""
    return bool(execute(sessions, _BY_ID, {"session_id": session_id}))
