"""Second readings: when a case is closed, who is offered it, and what is trained on."""

from __future__ import annotations

import datetime as dt
import importlib
import threading
import uuid
from typing import Any

import pytest
from sqlalchemy import select, text

from shared.auth.keys import Scope, create_key, find_key, have_one_holder, rotate_key
from shared.auth.tenants import DEFAULT_TENANT
from shared.db.models import CASE_STATES, AuditRow, ResultRow
from shared.db.session import Sessions
from shared.reviews.labels import Decision, ReviewLabel
from shared.reviews.newest import newest_reviews
from shared.reviews.offer import HOLD, hold, holder, next_case, release, waiting
from shared.reviews.readings import reader_of
from shared.reviews.record import Review, record_review
from shared.reviews.signed import own_agreement, signed_cases
from shared.reviews.standing import CaseState, Reading, standing
from shared.storage.s3 import S3Store
from shared.triage.policy import Urgency
from tests.integration.jobs import finish, post, take
from tests.waiting import eventually

BENIGN, EARLY, PRE, PRO, OTHER = ReviewLabel
UNREAD, SECOND, DISAGREEMENT, CLOSED = CaseState


@pytest.mark.parametrize(
    ("prediction", "labels", "state", "label"),
    [
        (BENIGN, [], UNREAD, None),
        (BENIGN, [BENIGN], CLOSED, BENIGN),
        (EARLY, [EARLY], CLOSED, EARLY),
        (EARLY, [PRE], CLOSED, PRE),
        (BENIGN, [OTHER], CLOSED, OTHER),
        (BENIGN, [EARLY], SECOND, None),
        (EARLY, [BENIGN], SECOND, None),
        (PRO, [OTHER], SECOND, None),
        (BENIGN, [EARLY, EARLY], CLOSED, EARLY),
        (BENIGN, [EARLY, BENIGN], DISAGREEMENT, None),
        (EARLY, [PRE, PRO], DISAGREEMENT, None),
        (BENIGN, [EARLY, BENIGN, EARLY], CLOSED, EARLY),
        (BENIGN, [EARLY, BENIGN, PRE], DISAGREEMENT, None),
        (BENIGN, [EARLY, EARLY, PRE, PRE], DISAGREEMENT, None),
    ],
)
def test_a_case_is_closed_by_one_reader_or_by_two_who_agree(
    prediction: ReviewLabel, labels: list[ReviewLabel], state: CaseState, label: ReviewLabel | None
) -> None:
    found = standing(prediction, [Reading(one) for one in labels])
    assert (found.state, found.label) == (state, label)


def test_whoever_asks_for_a_second_reader_gets_one() -> None:
    asked = Reading(EARLY, asks_second=True)
    assert standing(EARLY, [asked]).state is SECOND
    assert standing(EARLY, [asked, Reading(EARLY)]).label is EARLY


def test_the_states_are_those_of_the_schema() -> None:
    assert tuple(CaseState) == CASE_STATES


class Ward:
    """Cases whose results are all Benign, and readers."""

    def __init__(self, sessions: Sessions, storage: S3Store, key_id: str) -> None:
        self.sessions, self._storage, self._key_id = sessions, storage, key_id

    def case(self, urgency: Urgency = Urgency.REVIEW, within_hours: float | None = 24) -> uuid.UUID:
        posted = post(self.sessions, self._storage, self._key_id).job
        held = take(self.sessions, posted)
        assert held is not None
        assert finish(self.sessions, held)
        hours = "null" if within_hours is None else str(within_hours)
        with self.sessions.begin() as session:
            session.execute(
                text(
                    "UPDATE results SET urgency = :urgency, document = (jsonb_set("
                    "document::jsonb, '{within_hours}', CAST(:hours AS jsonb)))::json "
                    "WHERE job_id = :job_id"
                ),
                {"urgency": urgency, "hours": hours, "job_id": posted.id},
            )
        return posted.id

    def reader(self) -> str:
        return create_key(self.sessions, "reader", [Scope.REVIEW])[0].id

    def sign(
        self, reader: str, job_id: uuid.UUID, label: ReviewLabel = BENIGN, **more: Any
    ) -> Review:
        decision = Decision.CONFIRM if label is BENIGN else Decision.OVERRIDE
        more = {"comment": None, **more}
        return record_review(
            self.sessions, job_id, decision, label, key_id=reader, **more, tenant=DEFAULT_TENANT
        )

    def state(self, job_id: uuid.UUID) -> tuple[str, str | None]:
        with self.sessions() as session:
            row = session.execute(
                select(ResultRow.case_state, ResultRow.case_label).where(ResultRow.job_id == job_id)
            ).one()
            return row.case_state, row.case_label


@pytest.fixture
def ward(sessions: Sessions, storage: S3Store, key_id: str) -> Ward:
    return Ward(sessions, storage, key_id)


def test_a_confirmed_case_is_closed(ward: Ward) -> None:
    job = ward.case()
    assert ward.state(job) == ("unread", None)
    assert ward.sign(ward.reader(), job).standing.state is CLOSED
    assert ward.state(job) == ("closed", "Benign")


def test_a_finding_of_leukaemia_that_the_model_did_not_make_needs_two_readers(ward: Ward) -> None:
    job, first, second = ward.case(), ward.reader(), ward.reader()
    ward.sign(first, job, PRE)
    assert ward.state(job) == ("second_reading", None)
    ward.sign(second, job, PRE)
    assert ward.state(job) == ("closed", "Pre")


def test_nobody_is_their_own_second_reader_with_a_fresh_key(ward: Ward) -> None:
    job, first = ward.case(), ward.reader()
    successor, _ = rotate_key(ward.sessions, first, dt.timedelta(days=1))
    ward.sign(first, job, PRE)
    ward.sign(successor.id, job, PRE)
    assert ward.state(job) == ("second_reading", None)
    other = ward.reader()
    for one in (successor.id, other):
        same = reader_of(ward.sessions, one) == reader_of(ward.sessions, first)
        keys = (find_key(ward.sessions, key_id) for key_id in (one, first))
        assert same == have_one_holder(ward.sessions, *keys)


def test_a_disagreement_ends_when_a_third_decides_or_one_is_corrected(ward: Ward) -> None:
    first, second, third = (ward.reader() for _ in range(3))
    decided, corrected = ward.case(), ward.case()
    for job in (decided, corrected):
        ward.sign(first, job, EARLY)
        ward.sign(second, job, BENIGN)
        assert ward.state(job) == ("disagreement", None)
    ward.sign(third, decided, EARLY)
    ward.sign(first, corrected, BENIGN)
    assert ward.state(decided) == ("closed", "Early")
    assert ward.state(corrected) == ("closed", "Benign")


def test_a_correction_opens_a_closed_case_again_and_the_trail_keeps_both(ward: Ward) -> None:
    job, reader = ward.case(), ward.reader()
    ward.sign(reader, job)
    ward.sign(reader, job, asks_second=True)
    assert ward.state(job) == ("second_reading", None)
    with ward.sessions() as session:
        events = session.scalars(
            select(AuditRow.details).where(AuditRow.action == "job.reviewed").order_by(AuditRow.id)
        ).all()
    assert [event["case"] for event in events] == ["closed", "second_reading"]
    assert {event["model"] for event in events} == {"cnn_custom@1"}


def waiting_for_a_lock(sessions: Sessions) -> int:
    statement = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    with sessions() as session:
        return session.scalars(text(statement)).one()


def test_two_who_sign_at_once_close_a_case_together(ward: Ward) -> None:
    job = ward.case()
    both = [threading.Thread(target=ward.sign, args=(ward.reader(), job, PRE)) for _ in range(2)]
    with ward.sessions.begin() as session:
        session.execute(select(ResultRow.job_id).where(ResultRow.job_id == job).with_for_update())
        for one in both:
            one.start()
        eventually(lambda: waiting_for_a_lock(ward.sessions) == len(both), 20)
    for one in both:
        one.join()
    assert ward.state(job) == ("closed", "Pre")


def test_what_was_reviewed_before_there_were_states_stands_as_if_reviewed_since(ward: Ward) -> None:
    first, second, third = (ward.reader() for _ in range(3))
    successor, _ = rotate_key(ward.sessions, first, dt.timedelta(days=1))
    readings = (
        [(first, BENIGN)],
        [(first, PRE)],
        [(first, PRE), (second, PRE)],
        [(first, PRE), (second, BENIGN)],
        [(first, PRE), (successor.id, BENIGN)],
        [(first, PRE), (second, BENIGN), (third, PRE)],
    )
    since = {}
    for signed in readings:
        job = ward.case()
        for reader, label in signed:
            ward.sign(reader, job, label)
        since[job] = ward.state(job)
    migration = importlib.import_module("shared.db.migrations.versions.0011_second_readings")
    with ward.sessions.begin() as session:
        session.execute(text("UPDATE results SET case_state = 'unread', case_label = NULL"))
        session.execute(text(migration._CASES))
    assert {job: ward.state(job) for job in since} == since
    assert {state for state, _ in since.values()} == {"closed", "second_reading", "disagreement"}


# Offers


def test_the_most_urgent_comes_first_then_the_earliest_deadline(ward: Ward) -> None:
    routine = ward.case(Urgency.ROUTINE, None)
    later = ward.case(Urgency.REVIEW, 48)
    sooner = ward.case(Urgency.REVIEW, 24)
    urgent = ward.case(Urgency.URGENT, 0)
    reader, offered = ward.reader(), []
    while (job := next_case(ward.sessions, reader, tenant=DEFAULT_TENANT)) is not None:
        offered.append(job)
        ward.sign(reader, job)
    assert offered == [urgent, sooner, later, routine]


def test_two_readers_are_offered_two_cases_until_the_time_is_over(ward: Ward) -> None:
    first, second = ward.reader(), ward.reader()
    job = ward.case()
    assert next_case(ward.sessions, first, tenant=DEFAULT_TENANT) == job
    assert next_case(ward.sessions, first, tenant=DEFAULT_TENANT) == job
    assert next_case(ward.sessions, second, tenant=DEFAULT_TENANT) is None
    assert not hold(ward.sessions, job, second, tenant=DEFAULT_TENANT)
    assert holder(ward.sessions, job) == first
    with ward.sessions.begin() as session:
        session.execute(text("UPDATE results SET held_until = now()"))
    assert next_case(ward.sessions, second, tenant=DEFAULT_TENANT) == job
    assert dt.timedelta(minutes=1) < HOLD


def test_what_is_let_go_is_offered_to_others_and_what_is_passed_over_is_not_offered(
    ward: Ward,
) -> None:
    first, second = ward.reader(), ward.reader()
    job = ward.case()
    next_case(ward.sessions, first, tenant=DEFAULT_TENANT)
    release(ward.sessions, job, second)
    assert next_case(ward.sessions, second, tenant=DEFAULT_TENANT) is None
    release(ward.sessions, job, first)
    assert next_case(ward.sessions, second, tenant=DEFAULT_TENANT) == job
    assert next_case(ward.sessions, second, [job], tenant=DEFAULT_TENANT) is None


def test_a_second_reading_is_offered_to_another_reader_alone(ward: Ward) -> None:
    first, second = ward.reader(), ward.reader()
    job = ward.case()
    ward.sign(first, job, EARLY)
    assert next_case(ward.sessions, first, tenant=DEFAULT_TENANT) is None
    assert waiting(ward.sessions, first, tenant=DEFAULT_TENANT)[Urgency.REVIEW] == 0
    assert waiting(ward.sessions, second, tenant=DEFAULT_TENANT)[Urgency.REVIEW] == 1
    assert next_case(ward.sessions, second, tenant=DEFAULT_TENANT) == job


# What comes of it


def test_only_closed_cases_are_trained_on_by_what_two_have_signed(ward: Ward) -> None:
    first, second = ward.reader(), ward.reader()
    alone, both, confirmed, asked = (ward.case() for _ in range(4))
    ward.sign(first, alone, EARLY)
    ward.sign(first, both, EARLY)
    middle = ward.sign(first, confirmed).id
    ward.sign(first, asked, asks_second=True)
    last = ward.sign(second, both, EARLY).id
    later = ward.sign(second, both, PRE).id
    found = newest_reviews(ward.sessions, after=0, until=last, tenant=DEFAULT_TENANT)
    assert {job.job_id: job.label for job in found} == {both: EARLY, confirmed: BENIGN}
    assert [
        job.job_id
        for job in newest_reviews(ward.sessions, after=middle, until=last, tenant=DEFAULT_TENANT)
    ] == [both]
    found = newest_reviews(ward.sessions, after=0, until=later, tenant=DEFAULT_TENANT)
    assert [job.job_id for job in found] == [confirmed]


def test_a_reader_sees_how_often_others_said_the_same(ward: Ward) -> None:
    first, second = ward.reader(), ward.reader()
    jobs = [ward.case() for _ in range(3)]
    for job, own, other in zip(jobs, (BENIGN, EARLY, PRE), (None, EARLY, PRO), strict=True):
        ward.sign(first, job, own)
        if other is not None:
            ward.sign(second, job, other)
    agreement = own_agreement(ward.sessions, first)
    assert (agreement.with_model.count, agreement.with_model.total) == (1, 3)
    assert (agreement.with_readers.count, agreement.with_readers.total) == (1, 2)
    page = signed_cases(ward.sessions, first, limit=2)
    assert [one.case.job_id for one in page.cases] == [jobs[2], jobs[1]]
    assert [one.others[0].label for one in page.cases] == [PRO, EARLY]
    rest = signed_cases(ward.sessions, first, limit=2, before=page.next_before)
    assert ([one.case.job_id for one in rest.cases], rest.next_before) == ([jobs[0]], None)
    nobody = own_agreement(ward.sessions, ward.reader())
    assert (nobody.with_model.value, nobody.with_readers.interval) == (None, None)


# The API


def test_the_reviews_of_a_job_are_read_without_comments(client, ward: Ward) -> None:
    job, first = ward.case(), ward.reader()
    empty = client.get(f"/v1/jobs/{job}/reviews")
    assert (empty.status_code, empty.json["case_state"], empty.json["reviews"]) == (
        200,
        "unread",
        [],
    )
    ward.sign(first, job, PRE, comment="Ada Lovelace, ward 7")
    body = {"decision": "override", "label": "Pre", "asks_second": True}
    signed = client.post(f"/v1/jobs/{job}/review", json=body)
    assert (signed.json["case_state"], signed.json["asks_second"]) == ("closed", True)
    answer = client.get(f"/v1/jobs/{job}/reviews")
    assert (answer.json["case_state"], answer.json["label"]) == ("closed", "Pre")
    assert [one["asks_second"] for one in answer.json["reviews"]] == [False, True]
    assert answer.json["reviews"][0]["reader"] == first
    assert "Ada" not in answer.text


def test_reviews_of_what_is_not_there_or_has_no_result(client, sessions, storage, key_id) -> None:
    absent = client.get(f"/v1/jobs/{uuid.uuid4()}/reviews")
    assert (absent.status_code, absent.json["code"]) == (404, "not_found")
    waiting_job = post(sessions, storage, key_id).job
    unfinished = client.get(f"/v1/jobs/{waiting_job.id}/reviews")
    assert (unfinished.status_code, unfinished.json["code"]) == (409, "no_result")
