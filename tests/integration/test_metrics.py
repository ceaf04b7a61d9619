"""What `/metrics` shows of queues, runs and requests is what there is, at a bounded price."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine, event, text

from services.api.metrics import SOURCES
from services.gateway.tls import server_tls
from shared.auth.keys import Scope, create_key, rotate_key
from shared.auth.tenants import EVERY_TENANT
from shared.clock import utc_now
from shared.db.session import Sessions
from shared.errors import ImageTooSmallError
from shared.jobs.complete import give_up
from shared.jobs.requeue import requeue
from shared.jobs.states import Priority
from shared.storage.s3 import S3Store
from shared.trainings.claim import claim as claim_training
from shared.trainings.queue import request as request_training
from tests.certificates import make_certificate, needs_openssl
from tests.integration.jobs import LEASE, finish, post, take
from tests.trainings import a_ready_dataset, a_request
from tests.unit.deploy.support import needs_promtool, promtool

GROWING = ("jobs", "results", "audit_events", "webhooks", "orders", "outbox", "erasures")
PARTIAL = (
    *("ix_jobs_queued", "ix_jobs_lease", "ix_jobs_expires_at", "ix_webhooks_due"),
    *("ix_erasures_queued", "ix_jobs_dead"),
)


def shown(client: FlaskClient, name: str, *labels: str) -> dict[Any, float]:
    """The samples of one name, by the values of these labels."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    samples = [
        sample
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        if sample.name == name
    ]
    if len(labels) == 1:
        return {sample.labels[labels[0]]: sample.value for sample in samples}
    return {tuple(sample.labels[label] for label in labels): sample.value for sample in samples}


def change(sessions: Sessions, statement: str) -> None:
    with sessions.begin() as session:
        session.execute(text(statement))


def test_a_job_is_seen_to_wait_to_run_and_to_have_been_slow(
    client: FlaskClient, sessions: Sessions, storage: S3Store, key_id: str
) -> None:
    assert shown(client, "hemotriage_jobs_queued", "priority") == dict.fromkeys(Priority, 0)
    job = post(sessions, storage, key_id, priority=Priority.STAT).job
    # It went back to its queue a moment ago; for its sender it has waited since it was sent.
    change(sessions, "UPDATE jobs SET submitted_at = now() - interval '90 s'")
    assert shown(client, "hemotriage_jobs_queued", "priority")["stat"] == 1
    waited = shown(client, "hemotriage_jobs_oldest_queued_seconds", "priority")
    assert 90 <= waited["stat"] < 120
    assert waited["routine"] == 0
    held = take(sessions, job)
    assert held is not None
    assert shown(client, "hemotriage_jobs_queued", "priority")["stat"] == 0
    assert shown(client, "hemotriage_jobs_running", "priority")["stat"] == 1
    assert finish(sessions, held)
    assert shown(client, "hemotriage_jobs_running", "priority")["stat"] == 0
    slow = shown(client, "hemotriage_turnaround_seconds", "priority", "percentile")
    assert set(slow) == {("stat", "50"), ("stat", "95")}
    assert all(90 <= seconds < 120 for seconds in slow.values())
    # Where few come, the alert on it would otherwise stay for weeks.
    change(sessions, "UPDATE results SET created_at = now() - interval '25 h'")
    assert shown(client, "hemotriage_turnaround_seconds", "priority", "percentile") == {}


def test_what_ends_badly_is_counted_by_its_reason_until_it_is_queued_again(
    client: FlaskClient, sessions: Sessions, storage: S3Store, key_id: str
) -> None:
    for error, limit in ((ImageTooSmallError(""), 1), (ValueError(), 1), (ValueError(), 2)):
        held = take(sessions, post(sessions, storage, key_id).job)
        assert held is not None
        give_up(sessions, held, error, max_attempts=limit)
    found = shown(client, "hemotriage_jobs_unsuccessful", "status", "code")
    assert found == {("failed", "too_few_pixels"): 1, ("dead", "internal_error"): 1}
    assert shown(client, "hemotriage_jobs_redelivered", "code") == {"internal_error": 1}

    with sessions() as session:
        dead = session.scalar(text("SELECT id FROM jobs WHERE status = 'dead'"))
    change(
        sessions, "UPDATE jobs SET finished_at = now() - interval '25 h' WHERE finished_at < now()"
    )
    found = shown(client, "hemotriage_jobs_unsuccessful", "status", "code")
    assert found == {("dead", "internal_error"): 1}, "nobody has done anything about it"
    requeue(sessions, dead, tenant=EVERY_TENANT, expire_after_seconds=60, actor="test")
    assert shown(client, "hemotriage_jobs_unsuccessful", "status", "code") == {}


def test_what_is_due_to_the_broker_and_to_receivers_is_counted_with_its_age(
    client: FlaskClient, sessions: Sessions, storage: S3Store, key_id: str
) -> None:
    job = post(sessions, storage, key_id).job
    change(
        sessions,
        f"INSERT INTO outbox (id, job_id, queue, send_after) VALUES "
        f"(901, '{job.id}', 'stat', now() - interval '40 s'), "
        f"(902, '{job.id}', 'stat', now() + interval '1 h')",
    )
    assert shown(client, "hemotriage_outbox_due")[()] == 1
    assert 40 <= shown(client, "hemotriage_outbox_oldest_seconds")[()] < 70
    for number, url in enumerate(("https://lis/x", "mllp://lis:2575", "dicom://a:b@pacs:104")):
        change(
            sessions,
            f"INSERT INTO webhooks (id, job_id, event, url, attempts, created_at) VALUES "
            f"('{uuid.UUID(int=number)}', '{job.id}', 'job.succeeded', '{url}', {number}, "
            f"now() - interval '50 s')",
        )
    assert shown(client, "hemotriage_deliveries_due", "kind") == {"webhook": 1, "push": 2}
    assert shown(client, "hemotriage_deliveries_failing", "kind") == {"webhook": 0, "push": 2}
    ages = shown(client, "hemotriage_deliveries_oldest_seconds", "kind")
    assert all(50 <= age < 80 for age in ages.values())


def test_what_waits_for_retention_is_shown_with_its_age(
    client: FlaskClient, sessions: Sessions
) -> None:
    erasures, removals = (
        f"hemotriage_{name}_oldest_seconds" for name in ("erasures", "object_removals")
    )
    change(
        sessions,
        "INSERT INTO object_removals (key, due_at, again_at) VALUES "
        "('jobs/1/', now() + interval '1 h', null), ('jobs/2/', now() + interval '1 h', null)",
    )
    assert (shown(client, erasures)[()], shown(client, removals)[()]) == (0, 0)
    for number, hours in enumerate((1, 2)):
        change(
            sessions,
            f"INSERT INTO erasures (id, patient_ref, reason, requested_by, requested_at) VALUES "
            f"('{uuid.UUID(int=number)}', 'P', 'test', 'test', now() - interval '{hours} h')",
        )
    change(sessions, "UPDATE object_removals SET due_at = now() - interval '40 s' WHERE key ~ '2'")
    assert 7200 <= shown(client, erasures)[()] < 7230
    assert 40 <= shown(client, removals)[()] < 70
    change(
        sessions,
        "UPDATE erasures SET status = 'done', finished_at = now(), patient_ref = null",
    )
    change(sessions, "DELETE FROM object_removals WHERE key ~ '2'")
    assert (shown(client, erasures)[()], shown(client, removals)[()]) == (0, 0)


def test_a_run_shows_how_far_it_is_and_for_how_long_it_is_silent(
    client: FlaskClient, sessions: Sessions
) -> None:
    run = request_training(sessions, a_request(a_ready_dataset(sessions)), actor="test").id
    queued = shown(client, "hemotriage_training_runs", "status")
    assert (queued["queued"], queued["failed"]) == (1, 0)
    assert claim_training(sessions, worker="t1", lease_seconds=LEASE, max_attempts=3) is not None
    told = json.dumps({"epoch": 3, "val_accuracy": 0.75})
    change(
        sessions,
        f"INSERT INTO training_events (run_id, number, kind, key, document, at) VALUES "
        f"('{run}', 98, 'epoch', 'e/2', '{{\"epoch\": 2}}', now()), "
        f"('{run}', 99, 'epoch', 'e/3', '{told}', now() - interval '2 h')".replace(":", r"\:"),
    )
    labels = (str(run), "cnn_custom")
    for name, value in (("epoch", 3), ("val_accuracy_ratio", 0.75), ("progress_ratio", 0)):
        found = shown(client, f"hemotriage_training_{name}", "run", "architecture")
        assert found == {labels: value}, name
    silent = shown(client, "hemotriage_training_silent_seconds", "run", "architecture")
    assert 7200 <= silent[labels] < 7230
    assert shown(client, "hemotriage_datasets", "status")["ready"] == 1
    assert shown(client, "hemotriage_gates", "status")["queued"] == 0


def test_keys_that_cut_somebody_off_are_counted_and_none_that_has_a_successor(
    client: FlaskClient, sessions: Sessions
) -> None:
    assert shown(client, "hemotriage_api_keys_ending")[()] == 0
    assert shown(client, "hemotriage_api_key_first_end_seconds") == {}
    for days in (3, 20):
        ends = utc_now() + dt.timedelta(days=days)
        create_key(sessions, "ends", [Scope.SUBMIT], expires_at=ends)
    rotated, _ = create_key(sessions, "rotated", [Scope.SUBMIT])
    rotate_key(sessions, rotated.id, dt.timedelta(days=1))
    assert shown(client, "hemotriage_api_keys_ending")[()] == 1
    seconds = shown(client, "hemotriage_api_key_first_end_seconds")[()]
    assert 3 * 86_400 - 60 < seconds <= 3 * 86_400


def test_requests_are_told_apart_by_route_and_not_by_address(client: FlaskClient) -> None:
    for _ in range(2):
        client.get(f"/v1/jobs/{uuid.UUID(int=7)}")
    client.get("/no/such/address")
    client.open("/healthz", method="BREW")
    client.post("/v1/orders", data=b"x" * 100)
    name = "hemotriage_api_request_seconds_count"
    found = shown(client, name, "route", "method", "status")
    assert found["/v1/jobs/<uuid:job_id>", "GET", "4xx"] == 2
    assert found["unmatched", "GET", "4xx"] == 1
    assert found["unmatched", "other", "4xx"] == 1
    assert str(uuid.UUID(int=7)) not in client.get("/metrics").text
    assert shown(client, "hemotriage_api_received_bytes_total", "route")["/v1/orders"] == 100
    assert shown(client, "hemotriage_api_requests_running")[()] == 1, "the scrape itself"


@needs_openssl
def test_a_certificate_that_is_served_shows_its_end(tmp_path: Path) -> None:
    made = make_certificate(tmp_path, "gateway")
    server_tls(made.file, made.key, None)
    name = "hemotriage_certificate_end_timestamp_seconds"
    ends = REGISTRY.get_sample_value(name, {"certificate": str(made.file)})
    assert ends is not None
    days = (ends - utc_now().timestamp()) / 86_400
    assert 29 < days < 31, "openssl makes certificates for 30 days"


@pytest.fixture
def statements(database: Engine) -> Iterator[list[tuple[str, Any]]]:
    seen: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        seen.append((statement, parameters))

    event.listen(database, "before_cursor_execute", note)
    yield seen
    event.remove(database, "before_cursor_execute", note)


def unbounded(plan: dict[str, Any], *, is_limited: bool = False) -> Iterator[str]:
    """Scans that read a table that grows, by nothing that keeps them from reading all of it."""
    is_limited = is_limited or plan["Node Type"] == "Limit"
    of_growing = plan.get("Relation Name") in GROWING
    is_bounded = "Index Cond" in plan or "Recheck Cond" in plan or plan.get("Index Name") in PARTIAL
    if of_growing and not is_bounded and not (is_limited and "Index Name" in plan):
        yield f"{plan['Node Type']} on {plan['Relation Name']}"
    for part in plan.get("Plans", ()):
        # What is sorted, or grouped, is read to its end.
        ends_limit = plan["Node Type"] in ("Sort", "Aggregate", "Hash")
        yield from unbounded(part, is_limited=is_limited and not ends_limit)


def test_no_scrape_reads_a_table_that_grows_as_a_whole(
    sessions: Sessions, database: Engine, statements: list[tuple[str, Any]]
) -> None:
    for families in SOURCES:
        list(families(sessions))
    seen = [*statements]
    assert len(seen) >= len(SOURCES)
    found = []
    with database.connect() as connection:
        # Tables of tests are small: the question is whether there is another way at all.
        for way in ("seqscan", "sort", "hashjoin", "mergejoin", "hashagg"):
            connection.exec_driver_sql(f"SET LOCAL enable_{way} = off")
        for statement, parameters in seen:
            scans = []
            for bitmaps in ("on", "off"):
                connection.exec_driver_sql(f"SET LOCAL enable_bitmapscan = {bitmaps}")
                explained = f"EXPLAIN (FORMAT JSON) {statement}"
                ((plan,),) = connection.exec_driver_sql(explained, parameters).all()
                scans.append([*unbounded(plan[0]["Plan"])])
            if all(scans):
                found.append((scans, statement))
    assert found == []


@needs_promtool
def test_promtool_finds_no_fault_with_the_exposition(
    client: FlaskClient, sessions: Sessions, storage: S3Store, key_id: str
) -> None:
    held = take(sessions, post(sessions, storage, key_id).job)
    assert held is not None
    assert finish(sessions, held), "a result has figures of its own"
    promtool("check", "metrics", given=client.get("/metrics").text)
