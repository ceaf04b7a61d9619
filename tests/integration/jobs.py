"""Jobs for tests: posted, taken, with results, and a broker that says what it got."""

import datetime as dt
import io
import uuid
from dataclasses import replace

import numpy as np
from sqlalchemy import func, select, text

from shared.auth.tenants import DEFAULT_TENANT
from shared.db.session import Sessions
from shared.jobs.claim import Claim, claim
from shared.jobs.complete import complete
from shared.jobs.entities import Job, JobRequest
from shared.jobs.outbox import Outbox
from shared.jobs.submit import Submission, Upload, submit
from shared.queue.send import BrokerUnavailableError
from shared.storage.s3 import S3Store
from shared.triage.evidence import Evidence
from shared.triage.result import ModelReference, field_result, triage_result
from tests.factories import smear_bytes

LEASE = 60
MAX_ATTEMPTS = 3
LIMITS = {"max_attempts": MAX_ATTEMPTS, "lease_seconds": LEASE}


class Recorder:
    """A broker that takes messages, or is down."""

    def __init__(self, *, down: bool = False) -> None:
        self.sent: list[tuple[uuid.UUID, str]] = []
        self.announced: list[dt.datetime] = []
        self.down = down

    def __call__(self, job_id: uuid.UUID, queue: str, announced_at: dt.datetime) -> None:
        if self.down:
            raise BrokerUnavailableError
        self.sent.append((job_id, queue))
        self.announced.append(announced_at)


def upload(seed: int = 1) -> Upload:
    data = smear_bytes(seed)
    return Upload(io.BytesIO(data), f"{seed:064d}", "image/png", len(data), 224, 224)


def post(
    sessions: Sessions,
    storage: S3Store,
    key_id: str,
    broker: Recorder | None = None,
    *,
    outbox: Outbox | None = None,
    **changes: object,
) -> Submission:
    request = JobRequest(
        api_key_id=key_id, model_name="cnn_custom", model_version=1, tenant=DEFAULT_TENANT
    )
    request = replace(request, **changes)
    used = outbox or Outbox(sessions, broker or Recorder())
    submission = submit(sessions, storage, used, request, [upload()])
    if outbox is None:
        used.flush()
    return submission


def take(sessions: Sessions, job: Job, worker: str = "w1", lease: float = LEASE) -> Claim | None:
    return claim(sessions, [job.id], worker=worker, lease_seconds=lease).get(job.id)


def finish(sessions: Sessions, held: Claim) -> bool:
    """End a job with a result; whether it counted."""
    return held in complete(sessions, [(held, a_result(held.job_id))])


def a_result(job_id: uuid.UUID):
    row = np.array([0.97, 0.01, 0.01, 0.01])
    model = ModelReference(name="m", version=1, sha256="", engine="openvino", precision="f32")
    fields = [field_result(0, Evidence(row.astype(np.float32), row, unlikeness=0.5))]
    now = dt.datetime.now(dt.UTC)
    return triage_result(str(job_id), fields, [model], created_at=now, timings_ms={})


def count(sessions: Sessions, table: type) -> int:
    with sessions() as session:
        return session.scalar(select(func.count()).select_from(table))


class Broker(Recorder):
    """A broker whose queues can be looked into."""

    def oldest(self, queue: str) -> dt.datetime | None:
        waiting = [
            at for at, (_, name) in zip(self.announced, self.sent, strict=True) if name == queue
        ]
        return waiting[0] if waiting else None


def listeners(sessions: Sessions) -> set[int]:
    """Server processes of the connections that listen for the ends of jobs."""
    with sessions() as session:
        found = session.scalars(
            text("SELECT pid FROM pg_stat_activity WHERE query = 'LISTEN job_ended'")
        )
        return set(found)


def make_due(sessions: Sessions) -> None:
    """As if the time had passed after which messages are the relay's."""
    with sessions.begin() as session:
        session.execute(text("UPDATE outbox SET send_after = now()"))


def age(sessions: Sessions, seconds: int) -> None:
    with sessions.begin() as session:
        session.execute(text(f"UPDATE jobs SET queued_at = queued_at - interval '{seconds} s'"))
