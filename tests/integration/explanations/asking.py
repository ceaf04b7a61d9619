"""Explanations for tests: asked for and taken."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import select, text

from shared.auth.tenants import DEFAULT_TENANT
from shared.db.models import AuditRow, ExplanationRow
from shared.db.session import Sessions
from shared.explanations.claim import claim
from shared.explanations.method import Method
from shared.explanations.queue import request
from shared.explanations.states import ExplanationClaim, ExplanationState, Subject
from shared.storage.s3 import S3Store
from tests.integration.jobs import LEASE, finish, post, take

LIMIT = 3
MOST = 100
SHA = "a" * 64
DOCUMENT = {"version": "1", "method": "gradcam"}


def a_subject(sessions: Sessions, storage: S3Store, key_id: str) -> Subject:
    """The one field of a job that succeeded, by Grad-CAM."""
    job = post(sessions, storage, key_id).job
    held = take(sessions, job)
    assert held is not None
    assert finish(sessions, held)
    return Subject(job.id, 0, Method.GRADCAM)


def ask(sessions: Sessions, subject: Subject, **options: Any) -> ExplanationState | None:
    return request(
        sessions, subject, **{"actor": "key:k", "most": MOST, **options}, tenant=DEFAULT_TENANT
    )


def claimed(
    sessions: Sessions, method: Method = Method.GRADCAM, worker: str = "e1", lease: float = LEASE
) -> ExplanationClaim | None:
    return claim(sessions, method, worker=worker, lease_seconds=lease, max_attempts=LIMIT)


def taken(sessions: Sessions, subject: Subject, **options: object) -> ExplanationClaim:
    held = claimed(sessions, subject.method, **options)
    assert held is not None
    assert held.subject == subject
    return held


def set_all(sessions: Sessions, change: str) -> None:
    with sessions.begin() as session:
        session.execute(text(f"UPDATE explanations SET {change}"))


def wanted(sessions: Sessions) -> dt.datetime:
    with sessions() as session:
        return session.scalars(select(ExplanationRow.wanted_at)).one()


def requests_recorded(sessions: Sessions) -> int:
    with sessions() as session:
        actions = session.scalars(select(AuditRow.action)).all()
    return actions.count("explanation.requested")
