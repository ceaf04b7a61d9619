"""Two hospitals that share a service: what the one has, and callers who are not to see it."""

from __future__ import annotations

import datetime as dt
import io
import re
import uuid
from dataclasses import dataclass, replace
from typing import Any

from flask.testing import FlaskClient
from sqlalchemy import text, update

from shared.auth.keys import Scope, create_key
from shared.db.models import Base, ExplanationRow, JobRow
from shared.db.session import Sessions
from shared.explanations.method import Method
from shared.explanations.queue import request
from shared.explanations.states import Subject
from shared.interop.sources import DicomSource
from shared.jobs.entities import JobRequest
from shared.jobs.outbox import Outbox
from shared.jobs.queries import get_job
from shared.jobs.submit import submit
from shared.orders.entities import NewOrder
from shared.orders.place import place
from shared.registry.shadow_tasks import ShadowTask, keep
from shared.reviews.labels import Decision
from shared.reviews.record import record_review
from shared.storage import explanation_key
from shared.storage.s3 import S3Store
from tests.factories import smear_bytes
from tests.integration.jobs import Recorder, finish, take, upload
from tests.integration.shadows import CHALLENGER, said

NORTH, SOUTH = "north", "south"
EVERYTHING_OF_CASES = [Scope.SUBMIT, Scope.READ, Scope.REVIEW]

CANARY = "CANARY"
HOST = "canary.example"
STUDY, SERIES, INSTANCE = (f"1.2.826.0.1.3680043.8.498.777.{number}" for number in (1, 2, 3))
PICTURE = smear_bytes(9)
PICTURE_SHA = "c" * 64

NOBODY = uuid.UUID("00000000-0000-4000-8000-000000000000")
"""The id of nothing; the same in each process of the tests."""


@dataclass(frozen=True)
class Belongings:
    """What a tenant has, a piece of each kind: jobs in their states, an order, an event, a key."""

    queued: uuid.UUID
    done: uuid.UUID
    dead: uuid.UUID
    order: uuid.UUID
    event: uuid.UUID
    key: str

    @property
    def ids(self) -> tuple[uuid.UUID, ...]:
        """All but the key's."""
        return (self.queued, self.done, self.dead, self.order, self.event)


def settled(sessions: Sessions, storage: S3Store, tenant: str = NORTH) -> Belongings:
    """Have a tenant with all that is kept of cases, each of it recognisable."""
    key, _ = create_key(sessions, f"{CANARY}-reader", EVERYTHING_OF_CASES, tenant=tenant)
    queued, done, dead = (
        _job(sessions, storage, key.id, tenant, number) for number in ("1", "2", "3")
    )
    _end(sessions, storage, done, tenant, key.id)
    _die(sessions, dead)
    new = NewOrder(f"{CANARY}-9", specimen_id=f"{CANARY}-S9", patient_ref=f"{CANARY}-P9")
    order, _ = place(sessions, new, tenant=tenant, key_id=key.id)
    with sessions() as session:
        event = session.scalar(text("SELECT id FROM webhooks WHERE job_id = :id"), {"id": done})
    return Belongings(queued, done, dead, order.id, event, key.id)


def _job(sessions: Sessions, storage: S3Store, key_id: str, tenant: str, number: str) -> uuid.UUID:
    source = DicomSource(0, STUDY, SERIES, INSTANCE, "1.2.840.10008.5.1.4.1.1.77.1.2", 1)
    asked = JobRequest(
        key_id,
        "cnn_custom",
        1,
        tenant,
        accession_number=f"{CANARY}-{number}",
        specimen_id=f"{CANARY}-S{number}",
        patient_ref=f"{CANARY}-P{number}",
        callback_url=f"https://{HOST}/hook",
    )
    uploads = [replace(upload(7), source=source)]
    outbox = Outbox(sessions, Recorder())
    job_id = submit(sessions, storage, outbox, asked, uploads).job.id
    outbox.flush()
    return job_id


def _end(sessions: Sessions, storage: S3Store, job_id: uuid.UUID, tenant: str, key_id: str) -> None:
    """With a result, a review, an explanation, and a challenger that says something else."""
    held = take(sessions, get_job(sessions, job_id, tenant=tenant))
    assert held is not None
    assert finish(sessions, held)
    looked = ShadowTask(job_id, *CHALLENGER, dt.datetime.now(dt.UTC))
    keep(sessions, looked, said(job_id, "Pro", "urgent"))
    record_review(
        sessions,
        job_id,
        Decision.CONFIRM,
        None,
        comment=f"{CANARY} comment",
        tenant=tenant,
        key_id=key_id,
        asks_second=True,
    )
    subject = Subject(job_id, 0, Method.GRADCAM)
    request(sessions, subject, tenant=tenant, actor=f"key:{key_id}", most=9)
    ended = update(ExplanationRow).values(
        status="succeeded",
        finished_at=dt.datetime.now(dt.UTC),
        document={"version": "1", "method": "gradcam"},
        png_sha256=PICTURE_SHA,
    )
    with sessions.begin() as session:
        session.execute(ended)
    key = explanation_key(job_id, 0, Method.GRADCAM, PICTURE_SHA)
    storage.put(key, io.BytesIO(PICTURE), len(PICTURE), "image/png")


def _die(sessions: Sessions, job_id: uuid.UUID) -> None:
    values = {"status": "dead", "finished_at": dt.datetime.now(dt.UTC), "error_code": "expired"}
    with sessions.begin() as session:
        session.execute(update(JobRow).where(JobRow.id == job_id).values(**values))


class Caller:
    """Somebody with a key, by the API and by the console alike."""

    def __init__(self, application: Any, sessions: Sessions, scopes: Any, **of_key: Any) -> None:
        self.key, self._text = create_key(sessions, "caller", scopes, **of_key)
        self._client: FlaskClient = application.test_client()
        page = self._client.get("/console/sign-in").text
        answer = self._form("/console/sign-in", token_in(page), key=self._text)
        assert answer.status_code == 302, answer.text
        self._token = token_in(self._client.get("/console/monitoring").text)

    def open(self, method: str, path: str, **sent: Any) -> Any:
        """Call a route: of the console with its token, of the API with the key."""
        if not path.startswith("/console"):
            headers = {"Authorization": f"Bearer {self._text}", **sent.pop("headers", {})}
            return self._client.open(path, method=method, headers=headers, **sent)
        if method == "GET":
            return self._client.get(path)
        return self._form(path, self._token, **sent.get("data", {}))

    def _form(self, path: str, token: str, **fields: Any) -> Any:
        return self._client.post(path, data={"csrf_token": token, **fields})


def token_in(page: str) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert found is not None, page
    return found[1]


def contents(sessions: Sessions) -> dict[str, str | None]:
    """A digest of each table: what was written, or is no more, changes it.

    That somebody called is no change; who signs in, and out, is not looked at either.
    """
    left_out = {"ended_sessions"}
    digests = {}
    with sessions() as session:
        for table in Base.metadata.sorted_tables:
            if table.name in left_out:
                continue
            what = f"SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {table.name} t"
            digests[table.name] = session.scalar(text(what))
    return digests
