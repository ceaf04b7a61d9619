"""Jobs with results made by hand, and a challenger to look at them."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import delete, select, text, update

from shared.db.models import Base, ModelAliasRow, ResultRow, ShadowResultRow
from shared.db.session import Sessions
from shared.jobs.complete import complete
from shared.registry.shadow_tasks import pending
from shared.registry.states import Alias
from shared.storage.s3 import S3Store
from shared.triage.labels import Label
from shared.triage.policy import Urgency
from shared.triage.result import TriageResult
from tests.integration.jobs import a_result, post, take

CHALLENGER = ("cnn_custom", 1)
CHAMPION = {"model_name": "student", "model_version": 2}


def challenge(sessions: Sessions, name: str = "cnn_custom", version: int = 1) -> None:
    with sessions.begin() as session:
        session.execute(delete(ModelAliasRow))
        session.add(ModelAliasRow(alias=Alias.CHALLENGER, name=name, version=version))


def retire(sessions: Sessions) -> None:
    with sessions.begin() as session:
        session.execute(delete(ModelAliasRow))


def said(job_id: uuid.UUID, prediction: str = "Benign", urgency: str = "routine") -> TriageResult:
    """A result that says so."""
    changes = {"prediction": Label(prediction), "urgency": Urgency(urgency)}
    return a_result(job_id).model_copy(update=changes)


def finished(
    sessions: Sessions,
    storage: S3Store,
    key_id: str,
    prediction: str = "Benign",
    urgency: str = "routine",
    **request: Any,
) -> uuid.UUID:
    """A job that the champion has answered."""
    job = post(sessions, storage, key_id, **{**CHAMPION, **request}).job
    held = take(sessions, job)
    assert held is not None
    assert complete(sessions, [(held, said(job.id, prediction, urgency))])
    return job.id


def set_back(sessions: Sessions, minutes: int, job_id: uuid.UUID | None = None) -> None:
    """Have a job's result, or without one the challenger, be of so many minutes earlier."""
    table, column = (ModelAliasRow, "since") if job_id is None else (ResultRow, "created_at")
    earlier = getattr(table, column) - dt.timedelta(minutes=minutes)
    statement = update(table).values({column: earlier})
    if job_id is not None:
        statement = statement.where(ResultRow.job_id == job_id)
    with sessions.begin() as session:
        session.execute(statement)


def waiting(sessions: Sessions) -> list[uuid.UUID]:
    return [task.job_id for task in pending(sessions, limit=100)]


def rows(sessions: Sessions) -> dict[uuid.UUID, ShadowResultRow]:
    with sessions() as session:
        return {row.job_id: row for row in session.scalars(select(ShadowResultRow))}


def answered_at(sessions: Sessions, job_id: uuid.UUID) -> dt.datetime:
    with sessions() as session:
        return session.scalars(select(ResultRow.created_at).where(ResultRow.job_id == job_id)).one()


def everything_but_shadows(sessions: Sessions) -> dict[str, list[str]]:
    """All rows of all tables, as text."""
    tables = [t.name for t in Base.metadata.sorted_tables if t.name != "shadow_results"]
    with sessions() as session:
        return {
            name: sorted(session.scalars(text(f"SELECT t::text FROM {name} AS t")))
            for name in tables
        }
