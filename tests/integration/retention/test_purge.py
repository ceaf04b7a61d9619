"""What the policy no longer keeps goes, nothing else, and not what is held."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest
from sqlalchemy import func, select, text

from shared.audit.queries import AuditFilter, list_events
from shared.auth.ended_sessions import end_session, has_ended
from shared.auth.keys import Scope, create_key, list_keys, revoke_key
from shared.auth.tenants import DEFAULT_TENANT
from shared.clock import utc_now
from shared.db.models import (
    DatasetRow,
    DriftWindowRow,
    ExplanationRow,
    PurgeRow,
    ReviewRow,
    ShadowResultRow,
    TrainingEventRow,
    WebhookRow,
)
from shared.db.session import Sessions
from shared.explanations.method import Method
from shared.explanations.queue import request
from shared.explanations.states import Subject
from shared.jobs.cancel import cancel
from shared.jobs.images import read_bytes
from shared.jobs.queries import get_job
from shared.orders.entities import NewOrder
from shared.orders.place import place
from shared.orders.queries import get_order
from shared.retention.removed import ImagePurgedError, JobPurgedError
from shared.storage.s3 import S3Store
from shared.trainings.queue import cancel as cancel_training
from shared.trainings.queue import request as request_training
from shared.trainings.request import TrainingRequest
from tests.integration.audit.trail import Trail, empty
from tests.integration.jobs import count, post
from tests.integration.retention.conftest import Purging
from tests.integration.retention.patients import a_patient, a_result_of, objects_of
from tests.trainings import a_ready_dataset

OLD = "UPDATE {} SET {} = now() - interval '31 days'"


def age(sessions: Sessions, table: str, column: str) -> None:
    """As if what is in a table had been written 31 days ago."""
    with sessions.begin() as session:
        session.execute(text(OLD.format(table, column)))


def test_images_go_and_their_result_stays_and_says_so(
    sessions: Sessions, storage: S3Store, key_id: str, purge: Purging
) -> None:
    old = a_patient(sessions, storage, key_id)
    age(sessions, "jobs", "finished_at")
    young = a_result_of(sessions, storage, key_id)
    found = purge(images="30 days")["images"]
    assert (found.due, found.removed, found.held) == (1, 1, 0)
    job = get_job(sessions, old.job_id, tenant=DEFAULT_TENANT)
    assert job.result is not None
    assert job.images_purged_at is not None
    with pytest.raises(ImagePurgedError) as told:
        read_bytes(storage, job.images[0])
    assert (told.value.code, told.value.http_status) == ("purged", 410)
    assert [key for key in objects_of(storage, old.job_id) if "/images/" in key] == []
    assert read_bytes(storage, get_job(sessions, young.id, tenant=DEFAULT_TENANT).images[0])
    assert purge(images="30 days")["images"].due == 0


def test_without_its_image_no_explanation_is_made_and_a_made_one_is_there(
    sessions: Sessions, storage: S3Store, key_id: str, purge: Purging
) -> None:
    old = a_patient(sessions, storage, key_id)
    purge(images="0 days")
    asked = {"tenant": DEFAULT_TENANT, "actor": "key:k", "most": 10}
    made = request(sessions, Subject(old.job_id, 0, Method.GRADCAM), **asked)
    assert made is not None
    assert made.status == "succeeded"
    with pytest.raises(ImagePurgedError):
        request(sessions, Subject(old.job_id, 0, Method.GRADCAM), lost=made, **asked)
    with pytest.raises(ImagePurgedError):
        request(sessions, Subject(old.job_id, 0, Method.LIME), **asked)


def test_whole_jobs_go_by_how_they_ended_and_leave_their_ids(
    sessions: Sessions, storage: S3Store, key_id: str, purge: Purging
) -> None:
    done = a_patient(sessions, storage, key_id)
    cancelled, waiting = (post(sessions, storage, key_id).job for _ in range(2))
    cancel(sessions, cancelled.id, tenant=DEFAULT_TENANT, actor="key:k")
    assert purge(unsuccessful_jobs="0 days")["unsuccessful_jobs"].removed == 1
    with pytest.raises(JobPurgedError) as told:
        get_job(sessions, cancelled.id, tenant=DEFAULT_TENANT)
    assert (told.value.code, told.value.http_status) == ("purged", 410)
    assert get_job(sessions, done.job_id, tenant=DEFAULT_TENANT).result is not None
    assert purge(jobs="0 days")["jobs"].removed == 1
    assert objects_of(storage, done.job_id) == []
    with pytest.raises(JobPurgedError):
        get_job(sessions, done.job_id, tenant=DEFAULT_TENANT)
    assert get_job(sessions, waiting.id, tenant=DEFAULT_TENANT).status == "queued", (
        "what has not ended is never due"
    )


def test_a_dry_run_counts_and_removes_nothing(
    sessions: Sessions, storage: S3Store, key_id: str, purge: Purging
) -> None:
    old = a_patient(sessions, storage, key_id)
    everything = dict.fromkeys(("jobs", "images", "explanations", "review_comments"), "0 days")
    told = purge(dry_run=True, **everything)
    assert {kind: told[kind].removed for kind in everything} == dict.fromkeys(everything, 1)
    assert len(objects_of(storage, old.job_id)) == 2
    assert count(sessions, PurgeRow) == 0


def test_parts_of_jobs_have_periods_of_their_own(
    sessions: Sessions, storage: S3Store, key_id: str, purge: Purging
) -> None:
    old = a_patient(sessions, storage, key_id)
    with sessions.begin() as session:
        session.execute(text("UPDATE webhooks SET next_attempt_at = NULL, delivered_at = now()"))
    found = purge(
        explanations="0 days", review_comments="0 days", webhooks="0 days", shadow_results="0 days"
    )
    assert {kind: one.removed for kind, one in found.items() if one.removed} == {
        "explanations": 1,
        "review_comments": 1,
        "webhooks": 2,
        "shadow_results": 1,
    }
    with sessions() as session:
        assert session.scalars(select(ExplanationRow.status)).all() == ["queued"]
        assert session.scalars(select(ReviewRow.comment)).all() == [None]
    assert count(sessions, WebhookRow) == count(sessions, ShadowResultRow) == 0
    assert objects_of(storage, old.job_id) == [f"jobs/{old.job_id}/images/0"]


def test_what_is_still_to_be_delivered_is_not_due(
    sessions: Sessions, storage: S3Store, key_id: str, purge: Purging
) -> None:
    a_patient(sessions, storage, key_id)
    assert purge(webhooks="0 days")["webhooks"].due == 0


def test_orders_go_unless_a_job_repeats_their_numbers(
    sessions: Sessions, storage: S3Store, key_id: str, purge: Purging
) -> None:
    met = a_patient(sessions, storage, key_id)
    lonely, _ = place(
        sessions, NewOrder(accession_number="A-9"), tenant=DEFAULT_TENANT, key_id=key_id
    )
    tomorrow = utc_now() + dt.timedelta(days=1)
    ahead, _ = place(
        sessions,
        NewOrder(accession_number="A-10", scheduled_at=tomorrow),
        tenant=DEFAULT_TENANT,
        key_id=key_id,
    )
    assert purge(orders="0 days")["orders"].removed == 1
    assert get_order(sessions, met.order_id, tenant=DEFAULT_TENANT)
    assert get_order(sessions, ahead.id, tenant=DEFAULT_TENANT)
    with pytest.raises(Exception, match="no order"):
        get_order(sessions, lonely.id, tenant=DEFAULT_TENANT)


def test_what_is_of_no_patient_has_an_end_too(
    sessions: Sessions, key_id: str, purge: Purging
) -> None:
    failed = {"version": None, "record": None, "statistics": None, "lineage": None}
    dataset_id = a_ready_dataset(
        sessions, status="failed", error_code="archive_not_zip", faults=None, leaks=None, **failed
    )
    asked = TrainingRequest(architecture="cnn_custom", dataset_id=a_ready_dataset(sessions))
    run = request_training(sessions, asked, actor="key:k")
    cancel_training(sessions, run.id, actor="key:k")
    now, session_id = utc_now(), uuid.UUID(int=7)
    with sessions.begin() as session:
        session.add(DriftWindowRow(window_from=now, window_to=now, results=[]))
        end_session(session, session_id, now)
    unused, _ = create_key(sessions, "unused", [Scope.READ])
    revoke_key(sessions, unused.id)
    kinds = ("failed_imports", "training_events", "monitoring", "ended_sessions", "keys")
    found = purge(**dict.fromkeys(kinds, "0 days"))
    assert {kind: found[kind].removed for kind in kinds} == dict.fromkeys(kinds, 1)
    with sessions() as session:
        assert session.get(DatasetRow, dataset_id) is None
    assert count(sessions, TrainingEventRow) == count(sessions, DriftWindowRow) == 0
    assert not has_ended(sessions, session_id)
    assert unused.id not in {key.id for key in list_keys(sessions)}


def test_the_audit_trail_is_cut_at_a_checkpoint(
    sessions: Sessions, storage: S3Store, purge: Purging
) -> None:
    empty(storage)
    trail = Trail(sessions, storage)
    trail.write(3)
    assert purge(audit="0 days")["audit"].removed == 0, "no checkpoint has them yet"
    trail.checkpoint()
    assert purge(audit="0 days")["audit"].removed == 3
    with sessions() as session:
        assert session.scalars(select(PurgeRow.removed)).all() == [3]


def test_a_key_that_something_refers_to_stays(
    sessions: Sessions, storage: S3Store, key_id: str, purge: Purging
) -> None:
    post(sessions, storage, key_id)
    revoke_key(sessions, key_id)
    assert purge(keys="0 days")["keys"].due == 0


def test_each_pass_is_in_the_audit_trail_and_in_its_table(
    sessions: Sessions, storage: S3Store, key_id: str, purge: Purging
) -> None:
    jobs = [a_result_of(sessions, storage, key_id) for _ in range(3)]
    purge(images="0 days", batch=2)
    events = list_events(sessions, AuditFilter(action="retention.purged"), limit=9).events
    told = [(event.details["kind"], event.details["removed"]) for event in events]
    assert told == [("images", 1), ("images", 2)]
    named = [one for event in reversed(events) for one in event.details["jobs"]]
    assert named == [str(job.id) for job in jobs]
    with sessions() as session:
        (row,) = session.scalars(select(PurgeRow))
        assert (row.kind, row.removed) == ("images", 3)
        assert session.scalar(select(func.count()).where(PurgeRow.before < utc_now())) == 1
