"""What a laboratory's worklist holds, and in which order."""

from __future__ import annotations

import uuid

from shared.auth.tenants import DEFAULT_TENANT
from shared.jobs.unfinished import load, sent_by, unfinished
from shared.jobs.worklist import WorklistFilter, new_since, newest_result_at, worklist
from shared.reviews.record import Decision, record_review
from shared.triage.policy import Urgency
from tests.integration.jobs import post, take

OPEN = WorklistFilter(closed=False)


def test_cases_come_by_urgency_then_by_deadline_and_then_the_oldest(sessions, a_case) -> None:
    routine = [a_case(Urgency.ROUTINE), a_case(Urgency.ROUTINE)]
    slow = a_case(Urgency.REVIEW, 48)
    soon = a_case(Urgency.REVIEW, 24)
    urgent = a_case(Urgency.URGENT, 0)
    old_release = a_case(Urgency.URGENT)
    found = worklist(sessions, OPEN, limit=10, tenant=DEFAULT_TENANT).cases
    assert [case.job_id for case in found] == [urgent, old_release, soon, slow, *routine]
    assert found[0].due_at == found[0].result_at
    assert found[1].due_at is None


def test_pages_follow_one_another_and_leave_nothing_out(sessions, a_case) -> None:
    made = {a_case(urgency, hours) for urgency, hours in (
        (Urgency.URGENT, 0), (Urgency.URGENT, 0), (Urgency.REVIEW, 24), (Urgency.REVIEW, 48),
        (Urgency.ROUTINE, None), (Urgency.ROUTINE, None),
    )}  # fmt: skip
    whole = [
        case.job_id for case in worklist(sessions, OPEN, limit=10, tenant=DEFAULT_TENANT).cases
    ]
    read, cursor = [], None
    while True:
        page = worklist(sessions, OPEN, limit=1, cursor=cursor, tenant=DEFAULT_TENANT)
        read += [case.job_id for case in page.cases]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert read == whole
    assert set(read) == made


def test_the_worklist_is_filtered_by_all_that_it_shows(sessions, a_case, key_id) -> None:
    closed = a_case(Urgency.URGENT, 0, accession_number="A-1")
    waits = a_case(Urgency.REVIEW, 24, accession_number="A-2")
    record_review(
        sessions, closed, Decision.CONFIRM, None, comment=None, key_id=key_id, tenant=DEFAULT_TENANT
    )

    def ids(**criteria: object) -> set[uuid.UUID]:
        found = worklist(sessions, WorklistFilter(**criteria), limit=10, tenant=DEFAULT_TENANT)
        return {case.job_id for case in found.cases}

    assert ids() == {closed, waits}
    assert ids(closed=False) == {waits}
    assert ids(closed=True) == ids(urgency=Urgency.URGENT) == ids(accession_number="A-1")
    assert ids(closed=True) == {closed}
    assert ids(priority="stat") == ids(requires_review=True) == set()
    newest = newest_result_at(sessions, tenant=DEFAULT_TENANT)
    assert newest is not None
    assert ids(result_from=newest) == {waits}
    assert ids(result_to=newest) == {closed}


def test_new_cases_are_counted_by_their_urgency(sessions, a_case) -> None:
    a_case(Urgency.URGENT, 0)
    before = newest_result_at(sessions, tenant=DEFAULT_TENANT)
    assert new_since(sessions, OPEN, before, tenant=DEFAULT_TENANT) == {}
    a_case(Urgency.ROUTINE)
    a_case(Urgency.URGENT, 0)
    assert new_since(sessions, OPEN, before, tenant=DEFAULT_TENANT) == {
        Urgency.URGENT: 1,
        Urgency.ROUTINE: 1,
    }


def test_unfinished_jobs_have_their_places(sessions, storage, key_id) -> None:
    first = post(sessions, storage, key_id).job
    second = post(sessions, storage, key_id).job
    stat = post(sessions, storage, key_id, priority="stat").job
    running = post(sessions, storage, key_id).job
    take(sessions, running)
    found = [(job.id, job.place) for job in unfinished(sessions, most=10, tenant=DEFAULT_TENANT)]
    assert found == [(running.id, None), (stat.id, 1), (first.id, 1), (second.id, 2)]
    assert vars(load(sessions, tenant=DEFAULT_TENANT)) == {"running": 1, "queued": 3}
    mine = [job.id for job in sent_by(sessions, key_id, most=2)]
    assert mine == [running.id, stat.id]
