"""The administrator's pages, asked for as a browser without scripts does."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from typing import Any

import pytest
from sqlalchemy import text

from shared.audit.queries import AuditFilter, list_events
from shared.auth.keys import Scope, create_key, find_key, list_keys
from shared.auth.tenants import DEFAULT_TENANT
from shared.db.models import AuditRow, WebhookRow
from shared.db.session import Sessions
from shared.jobs.complete import give_up
from shared.jobs.overview import depths, redeliveries, running_jobs, throughput, unsuccessful_jobs
from shared.jobs.queries import get_status
from shared.jobs.states import Priority, Status
from shared.monitoring.history import drift_history
from shared.monitoring.results import Version
from shared.reviews.record import Decision, ReviewLabel, record_review
from shared.reviews.trends import by_confidence, weekly
from shared.settings import Settings
from shared.storage.s3 import S3Store
from tests.integration.jobs import MAX_ATTEMPTS, finish, post, take
from tests.integration.visitors import ADMIN, Visitor, told

NOBODY = uuid.UUID(int=0)


@pytest.fixture
def admin(settings: Settings, sessions: Sessions, storage: S3Store) -> Visitor:
    return Visitor(settings, sessions, ADMIN)


@pytest.fixture
def reader(settings: Settings, sessions: Sessions) -> Visitor:
    return Visitor(settings, sessions, [Scope.READ])


@pytest.fixture
def dead(sessions: Sessions, storage: S3Store, key_id: str) -> uuid.UUID:
    """A job that crashed its worker as often as allowed."""
    job = post(sessions, storage, key_id, priority=Priority.STAT).job
    for _ in range(MAX_ATTEMPTS):
        held = take(sessions, job)
        assert held is not None
        give_up(sessions, held, RuntimeError("no"), max_attempts=MAX_ATTEMPTS)
    assert get_status(sessions, job.id, tenant=DEFAULT_TENANT) is Status.DEAD
    return job.id


PAGES = ["models", "models/student/2", "data", "trainings", "keys", "audit"]


@pytest.mark.parametrize("path", PAGES)
def test_a_page_of_the_administrator_is_shown_to_nobody_else(
    admin: Visitor, reader: Visitor, path: str
) -> None:
    assert "<h1" in admin.get(f"/{path}")
    assert "forbidden" in reader.get(f"/{path}", status=403)


@pytest.mark.parametrize(
    "path",
    [
        f"queues/jobs/{NOBODY}",
        f"queues/events/{NOBODY}",
        "models/student/2/promote",
        "models/rollback",
        "data/uploads",
        "data/reviews",
        "trainings",
        f"trainings/{NOBODY}/cancel",
        "keys",
        "keys/0123456789ab/rotate",
        "keys/0123456789ab/revoke",
    ],
)
def test_whoever_may_only_read_changes_nothing(reader: Visitor, path: str) -> None:
    assert reader.post(f"/{path}").status_code == 403


def test_readers_see_queues_and_monitoring_without_buttons(
    admin: Visitor, reader: Visitor, dead: uuid.UUID
) -> None:
    assert str(dead) in reader.get("/queues")
    assert f"queues/jobs/{dead}" not in reader.get("/queues")
    assert f"queues/jobs/{dead}" in admin.get("/queues")
    assert "<h1" in reader.get("/monitoring")


# Queues


def test_the_queues_are_counted(sessions: Sessions, storage: S3Store, key_id: str) -> None:
    waiting = post(sessions, storage, key_id, priority=Priority.URGENT).job
    job = post(sessions, storage, key_id, priority=Priority.STAT).job
    held = take(sessions, job, worker="w7")
    assert held is not None
    found = {depth.priority: depth for depth in depths(sessions)}
    counts = {p: (depth.queued, depth.running) for p, depth in found.items()}
    assert counts == {Priority.STAT: (0, 1), Priority.URGENT: (1, 0), Priority.ROUTINE: (0, 0)}
    oldest = found[Priority.URGENT].oldest_at
    assert oldest is not None
    assert oldest >= waiting.submitted_at
    assert found[Priority.STAT].oldest_at is None
    (running,) = running_jobs(sessions, limit=5, tenant=DEFAULT_TENANT)
    assert (running.id, running.worker, running.attempts) == (job.id, "w7", 1)
    assert finish(sessions, held)
    minutes = throughput(sessions)
    assert len(minutes) == 61
    assert sum(minute.succeeded for minute in minutes) == 1


def test_what_failed_is_listed_with_how_often_it_was_given_back(
    sessions: Sessions, dead: uuid.UUID
) -> None:
    assert [job.id for job in unsuccessful_jobs(sessions, limit=5, tenant=DEFAULT_TENANT)] == [dead]
    assert redeliveries(sessions) == {"internal_error": MAX_ATTEMPTS - 1}
    assert sum(minute.unsuccessful for minute in throughput(sessions)) == 1


def test_a_dead_job_is_queued_again_by_whoever_asked(
    admin: Visitor, sessions: Sessions, dead: uuid.UUID
) -> None:
    page = admin.get("/queues")
    assert "Something went wrong." in page  # the code, in words
    assert admin.post(f"/queues/jobs/{dead}").status_code == 302
    assert get_status(sessions, dead, tenant=DEFAULT_TENANT) is Status.QUEUED
    actor = f"key:{admin.key.id}"
    assert (actor, {"code": "by_operator"}) in told(sessions, "job.requeued")
    assert unsuccessful_jobs(sessions, limit=5, tenant=DEFAULT_TENANT) == []
    assert admin.post(f"/queues/jobs/{dead}").status_code == 409


def test_an_event_that_was_given_up_is_sent_again(
    admin: Visitor, sessions: Sessions, dead: uuid.UUID
) -> None:
    event_id = uuid.uuid4()
    url = "https://lis.example/secret-path"
    with sessions.begin() as session:
        row = WebhookRow(id=event_id, job_id=dead, event="job.dead", url=url, attempts=8)
        session.add(row)
        session.flush()
        row.next_attempt_at = None
    page = admin.get("/queues/troubles")
    assert "https://lis.example" in page
    assert "secret-path" not in page
    admin.post(f"/queues/events/{event_id}")
    ((actor, details),) = told(sessions, "webhook.resent")
    assert (actor, details) == (f"key:{admin.key.id}", {"event_id": str(event_id)})


# Monitoring


def test_drift_is_thinned_out_to_its_worst(sessions: Sessions) -> None:
    with sessions.begin() as session:
        session.execute(
            text(
                "WITH w AS (INSERT INTO drift_windows (window_from, window_to, results)"
                " SELECT t - interval '1 day', t, '[]' FROM (SELECT date_bin('288 s', now(),"
                " TIMESTAMPTZ 'epoch') - interval '2880 s' + n * interval '10 s' AS t"
                " FROM generate_series(0, 3) AS n) AS times RETURNING id)"
                " INSERT INTO drift_measures SELECT id, 'student', 2, 'confidence', 100,"
                " id * 0.1, 0.05, NULL, NULL, 'ok', id % 2 = 0 FROM w"
            )
        )
    day = drift_history(sessions, Version("student", 2), dt.timedelta(days=1))
    (worst,) = day["confidence"]
    assert (worst.psi, worst.alert) == (pytest.approx(0.4), True)
    assert drift_history(sessions, Version("student", 1), dt.timedelta(days=1)) == {}


def test_agreement_is_counted_by_week_and_by_confidence(
    admin: Visitor, sessions: Sessions, storage: S3Store, key_id: str
) -> None:
    for decision in (Decision.CONFIRM, Decision.OVERRIDE):
        held = take(sessions, post(sessions, storage, key_id).job)
        assert held is not None
        assert finish(sessions, held)
        label = ReviewLabel.PRO if decision is Decision.OVERRIDE else None
        record_review(
            sessions,
            held.job_id,
            decision,
            label,
            comment=None,
            key_id=key_id,
            tenant=DEFAULT_TENANT,
        )
    (week,) = weekly(sessions, "cnn_custom", 1)
    (group,) = by_confidence(sessions, "cnn_custom", 1)
    assert (week.reviewed, week.confirmed, week.share) == (2, 1, 0.5)
    assert (group.reviewed, group.confidence) == (2, pytest.approx(0.97))
    page = admin.get("/monitoring?version=cnn_custom@1&days=30")
    assert "Calibration in use" in page
    assert "cnn_custom@1" in page


# Keys


def test_a_key_is_shown_once(admin: Visitor, sessions: Sessions) -> None:
    asked = {"name": "the LIS", "scopes": ["submit", "read"], "hosts": "10.0.0.0/8"}
    page = admin.post("/keys", **asked, jobs_per_minute="60", expires_in_days="30").text
    secret = re.search(r'value="(ht_[^"]+)"', page)
    assert secret is not None
    made = list_keys(sessions)[-1]
    assert (made.name, made.scopes) == ("the LIS", {Scope.SUBMIT, Scope.READ})
    assert (made.jobs_per_minute, str(made.allowed_hosts[0])) == (60, "10.0.0.0/8")
    assert made.expires_at is not None
    assert secret[1] not in admin.get("/keys")
    assert (f"key:{admin.key.id}") in [actor for actor, _ in told(sessions, "key.created")]


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"scopes": []},
        {"scopes": ["root"]},
        {"hosts": "10.0.0.1/8"},
        {"hosts": ","},
        {"jobs_per_minute": "0"},
        {"expires_in_days": "-1"},
    ],
)
def test_a_key_that_cannot_be_is_refused(
    admin: Visitor, sessions: Sessions, wrong: dict[str, Any]
) -> None:
    before = len(list_keys(sessions))
    refused = admin.post("/keys", **{"name": "x", "scopes": ["read"], **wrong})
    assert (refused.status_code, "validation_failed" in refused.text) == (422, True)
    assert len(list_keys(sessions)) == before


def test_a_key_is_rotated_and_revoked(admin: Visitor, sessions: Sessions) -> None:
    old, _ = create_key(sessions, "the LIS", [Scope.SUBMIT])
    assert "takes its place" in admin.get(f"/keys/{old.id}/rotate")
    page = admin.post(f"/keys/{old.id}/rotate", hours="1").text
    new = list_keys(sessions)[-1]
    assert new.successor_of == old.id
    assert re.search(rf'value="ht_{new.id}_[^"]+"', page)
    assert admin.post(f"/keys/{old.id}/rotate", hours="1").status_code == 409
    assert admin.post(f"/keys/{new.id}/revoke").status_code == 302
    found = find_key(sessions, new.id)
    assert found is not None
    assert found.revoked_at is not None
    ((actor, _),) = told(sessions, "key.revoked")
    assert actor == f"key:{admin.key.id}"


@pytest.mark.parametrize("key_id", ["nobody", "a%00b", "x" * 3000])
@pytest.mark.parametrize("change", ["rotate", "revoke"])
def test_a_key_that_there_is_not_is_not_found(admin: Visitor, key_id: str, change: str) -> None:
    assert "not_found" in admin.get(f"/keys/{key_id}/{change}", 404)
    assert admin.post(f"/keys/{key_id}/{change}").status_code == 404


def test_whoever_revokes_their_own_key_is_out(admin: Visitor) -> None:
    assert "you are signed out" in admin.get(f"/keys/{admin.key.id}/revoke")
    admin.post(f"/keys/{admin.key.id}/revoke")
    assert admin.http.get("/console/keys").status_code == 302


# Audit


def test_the_trail_is_searched_and_read_on(
    admin: Visitor, sessions: Sessions, dead: uuid.UUID
) -> None:
    page = admin.get("/audit?action=job.dead")
    assert str(dead) in page
    assert "job.submitted</a>" not in page
    assert "job.submitted</a>" in admin.get(f"/audit?job_id={dead}")
    assert "No event is like that." in admin.get("/audit?to=2020-01-01T00:00")
    pages = [admin.get(f"/audit?job_id={dead}&limit=2")]
    older = re.search(r'href="/console(/audit\?[^"]*cursor=\d+[^"]*)"', pages[0])
    assert older is not None
    pages.append(admin.get(older[1].replace("&amp;", "&")))
    assert ["job.dead</a>" in page for page in pages] == [True, False]
    assert "validation_failed" in admin.get("/audit?job_id=x", status=422)
    for odd in ("_method=DELETE", "_scheme=javascript", "endpoint=x", "_anchor=a&_external="):
        page = admin.get(f"/audit?job_id={dead}&limit=2&{odd}")
        found = re.search(r'href="/console(/audit\?[^"]*cursor=\d+[^"]*)"', page)
        assert found is not None
        assert odd.split("=")[0] not in found[1]


def test_calls_are_in_the_trail_where_they_are_asked_for(sessions: Sessions) -> None:
    with sessions.begin() as session:
        for action in ("api.called", "job.submitted"):
            session.add(AuditRow(actor="key:a", action=action))
    without = list_events(sessions, AuditFilter(with_calls=False), limit=5).events
    assert [event.action for event in without] == ["job.submitted"]
    assert len(list_events(sessions, AuditFilter(), limit=5).events) == 2
