"""Reviews: who may write one, what is refused, what counts, and that a comment goes nowhere."""

from __future__ import annotations

import logging
import uuid
from typing import Any

import pytest
from flask.testing import FlaskClient
from scipy.stats import binomtest
from sqlalchemy import select, text

from shared.auth.keys import Scope, create_key
from shared.db.models import AuditRow, ReviewRow
from shared.db.session import Sessions
from shared.reviews.agreement import Override, agreements, wilson
from shared.storage.s3 import S3Store
from tests.integration.jobs import count, finish, post, take

COMMENT = "Ada Lovelace, ward 7"


@pytest.fixture
def job(sessions: Sessions, storage: S3Store, key_id: str) -> uuid.UUID:
    """A job whose result is Benign."""
    return finished(sessions, storage, key_id)


def finished(sessions: Sessions, storage: S3Store, key_id: str) -> uuid.UUID:
    posted = post(sessions, storage, key_id).job
    held = take(sessions, posted)
    assert held is not None
    assert finish(sessions, held)
    return posted.id


def review(client: FlaskClient, job_id: object, **body: Any) -> Any:
    return client.post(f"/v1/jobs/{job_id}/review", json=body)


def test_a_result_is_confirmed(client, sessions, job) -> None:
    answer = review(client, job, decision="confirm")
    assert answer.status_code == 201
    assert answer.json["prediction"] == answer.json["label"] == "Benign"
    assert answer.json["job_id"] == str(job)
    assert review(client, job, decision="confirm", label="Benign").status_code == 201


@pytest.mark.parametrize("label", ["Early", "Pre", "Pro", "other"])
def test_a_result_is_overridden(client, job, label: str) -> None:
    answer = review(client, job, decision="override", label=label, comment=COMMENT)
    assert (answer.status_code, answer.json["label"]) == (201, label)
    assert "comment" not in answer.json


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "validation_failed"),
        ({"decision": "maybe"}, "validation_failed"),
        ({"decision": "override", "label": "Blast"}, "validation_failed"),
        ({"decision": "confirm", "comment": "x" * 2001}, "validation_failed"),
        ({"decision": "confirm", "comment": "a\x00b"}, "validation_failed"),
        ({"decision": "confirm", "comment": "\ud800"}, "validation_failed"),
        ({"decision": "confirm", "reviewer": "me"}, "validation_failed"),
        ({"decision": "override"}, "review_contradicts"),
        ({"decision": "override", "label": "Benign"}, "review_contradicts"),
        ({"decision": "confirm", "label": "Pro"}, "review_contradicts"),
    ],
)
def test_what_says_nothing_clear_is_refused(client, sessions, job, body, code: str) -> None:
    answer = review(client, job, **body)
    assert (answer.status_code, answer.json["code"]) == (422, code)
    assert answer.content_type == "application/problem+json"
    assert count(sessions, ReviewRow) == 0


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'"confirm"', b"\xff"])
def test_what_is_no_json_object_is_refused(client, job, data: bytes) -> None:
    answer = client.post(f"/v1/jobs/{job}/review", data=data, content_type="application/json")
    assert answer.status_code in (400, 422)
    assert answer.content_type == "application/problem+json"


def test_what_is_sent_as_another_type_is_refused(client, sessions, job) -> None:
    answer = client.post(f"/v1/jobs/{job}/review", data={"decision": "confirm"})
    assert answer.status_code in (400, 415, 422)
    assert answer.content_type == "application/problem+json"
    assert count(sessions, ReviewRow) == 0


def test_the_document_describes_the_review(client) -> None:
    operation = client.get("/openapi.json").json["paths"]["/v1/jobs/{job_id}/review"]["post"]
    assert "application/json" in operation["requestBody"]["content"]
    assert {"201", "403", "404", "409", "422"} <= set(operation["responses"])
    assert operation["security"] == [{"bearer": []}]


def test_a_large_body_is_refused(client, job) -> None:
    answer = review(client, job, decision="confirm", comment="x" * 100_000)
    assert (answer.status_code, answer.json["code"]) == (413, "payload_too_large")


def test_a_job_that_is_not_there_or_has_no_result(client, sessions, storage, key_id) -> None:
    absent = review(client, uuid.uuid4(), decision="confirm")
    assert (absent.status_code, absent.json["code"]) == (404, "not_found")
    waiting = post(sessions, storage, key_id).job
    answer = review(client, waiting.id, decision="confirm")
    assert (answer.status_code, answer.json["code"]) == (409, "no_result")
    assert count(sessions, ReviewRow) == 0


def test_a_review_needs_its_scope_before_its_body_is_looked_at(client, sessions, job) -> None:
    _, key = create_key(sessions, "reader", set(Scope) - {Scope.REVIEW})
    headers = {"Authorization": f"Bearer {key}"}
    answer = client.post(f"/v1/jobs/{job}/review", json={}, headers=headers)
    assert (answer.status_code, answer.json["code"]) == (403, "forbidden")


def test_a_review_is_in_the_audit_trail_and_its_comment_only_in_its_column(
    client, sessions, job, caplog
) -> None:
    with caplog.at_level(logging.DEBUG):
        review(client, job, decision="override", label="Pre", comment=f" {COMMENT}\n")
    with sessions() as session:
        event = session.scalars(select(AuditRow).where(AuditRow.action == "job.reviewed")).one()
        assert session.scalars(select(ReviewRow.comment)).one() == COMMENT
        (review_id,) = session.scalars(select(ReviewRow.id))
        assert event.job_id == job
        assert event.details == {
            "decision": "override",
            "prediction": "Benign",
            "label": "Pre",
            "review": review_id,
            "model": "cnn_custom@1",
            "asks_second": False,
            "case": "second_reading",
        }
        assert event.actor.startswith("key:")
    assert COMMENT not in caplog.text


def test_agreement_counts_the_newest_review_of_each_job(client, sessions, storage, key_id) -> None:
    assert agreements(sessions) == []
    jobs = [finished(sessions, storage, key_id) for _ in range(5)]
    for job in jobs[:4]:
        review(client, job, decision="confirm")
    review(client, jobs[0], decision="override", label="Early")
    review(client, jobs[4], decision="override", label="other")
    review(client, jobs[4], decision="confirm")
    (found,) = agreements(sessions)
    assert (found.model, found.reviewed, found.confirmed) == ("cnn_custom@1", 5, 4)
    assert found.overridden == (Override("Benign", "Early", 1),)
    assert (found.share, found.interval) == (0.8, wilson(4, 5))


def test_old_reviews_do_not_count(client, sessions, job) -> None:
    review(client, job, decision="confirm")
    with sessions.begin() as session:
        session.execute(text("UPDATE reviews SET at = now() - interval '91 days'"))
    assert agreements(sessions) == []


@pytest.mark.parametrize(("confirmed", "reviewed"), [(0, 1), (1, 1), (4, 5), (97, 100), (50, 900)])
def test_the_interval_is_wilsons(confirmed: int, reviewed: int) -> None:
    expected = binomtest(confirmed, reviewed).proportion_ci(0.95, method="wilson")
    assert wilson(confirmed, reviewed) == pytest.approx((expected.low, expected.high), abs=1e-12)
