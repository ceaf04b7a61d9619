"""The pages of reading, asked for as a browser without scripts does."""

from __future__ import annotations

import re
import threading
import uuid

import pytest
from sqlalchemy import select

from shared.auth.keys import Scope
from shared.auth.tenants import DEFAULT_TENANT
from shared.db.models import AuditRow, ReviewRow
from shared.db.session import Sessions
from shared.reviews.readings import find_case
from shared.reviews.standing import CaseState
from shared.settings import Settings
from shared.storage.s3 import S3Store
from tests.integration.jobs import count, finish, post, take
from tests.integration.visitors import Visitor

READER = [Scope.READ, Scope.REVIEW]


@pytest.fixture
def first(settings: Settings, sessions: Sessions) -> Visitor:
    return Visitor(settings, sessions, READER)


@pytest.fixture
def second(settings: Settings, sessions: Sessions) -> Visitor:
    return Visitor(settings, sessions, READER)


@pytest.fixture
def job(sessions: Sessions, storage: S3Store, key_id: str) -> uuid.UUID:
    """A job whose result is Benign."""
    posted = post(sessions, storage, key_id).job
    held = take(sessions, posted)
    assert held is not None
    assert finish(sessions, held)
    return posted.id


def history_of(visitor: Visitor, job: uuid.UUID) -> str:
    found = re.search(r'<ol class="history">.*?</ol>', visitor.get(f"/cases/{job}"), re.DOTALL)
    assert found is not None
    return found[0]


def asked_after(visitor: Visitor, job: uuid.UUID) -> str:
    found = re.search(r'name="after" value="([0-9]+)"', visitor.get(f"/review/{job}"))
    assert found is not None
    return found[1]


def test_the_history_of_a_case_keeps_the_second_reader_blind(first, second, job) -> None:
    first.post(f"/review/{job}", label="Pre")
    assert "label Pre" in history_of(first, job)
    blind = history_of(second, job)
    assert "reviewed" in blind
    assert not re.search("Pre|override|second_reading", blind)
    second.post(f"/review/{job}", label="Early")
    assert "label Pre" in history_of(second, job)


def test_whoever_may_not_read_a_case_sees_none_to_review(settings, sessions, job) -> None:
    stranger = Visitor(settings, sessions, [Scope.REVIEW])
    for path in ("/review", f"/review/{job}", "/review/mine", "/review/waiting"):
        assert "read" in stranger.get(path, 403)
    assert stranger.post(f"/review/{job}", label="Benign").status_code == 403
    assert "/console/review" not in stranger.get("/", 403)


def test_a_form_that_is_sent_twice_signs_once(first, sessions, job) -> None:
    form = {"label": "Pre", "comment": "blasts", "after": asked_after(first, job)}
    both = [
        threading.Thread(target=first.post, args=(f"/review/{job}",), kwargs=form) for _ in range(2)
    ]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert first.post(f"/review/{job}", **form).status_code == 303
    assert count(sessions, ReviewRow) == 1
    with sessions() as session:
        events = session.scalars(select(AuditRow).where(AuditRow.action == "job.reviewed")).all()
    assert len(events) == 1


def test_who_changes_their_mind_and_back_has_signed_thrice(first, sessions, job) -> None:
    for label in ("Pre", "Benign", "Pre"):
        first.post(f"/review/{job}", label=label, after=asked_after(first, job))
    assert count(sessions, ReviewRow) == 3
    assert (
        find_case(sessions, job, tenant=DEFAULT_TENANT).standing.state is CaseState.SECOND_READING
    )


def test_two_readers_who_say_the_same_have_both_signed(first, second, sessions, job) -> None:
    for reader in (first, second):
        reader.post(f"/review/{job}", label="Pre", after=asked_after(reader, job))
    assert find_case(sessions, job, tenant=DEFAULT_TENANT).standing.state is CaseState.CLOSED
    assert count(sessions, ReviewRow) == 2
