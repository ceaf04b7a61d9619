"""Patients with all that the service can have of one, and a look into every table and object."""

from __future__ import annotations

import io
import uuid
from dataclasses import dataclass

from sqlalchemy import Engine, text

from shared.auth.tenants import DEFAULT_TENANT
from shared.clock import utc_now
from shared.db.models import (
    Base,
    DicomSourceRow,
    ExplanationRow,
    ReviewRow,
    ShadowResultRow,
    WebhookRow,
)
from shared.db.session import Sessions
from shared.jobs.entities import Job
from shared.jobs.queries import get_job
from shared.orders.entities import NewOrder
from shared.orders.place import place
from shared.retention import holds
from shared.retention.holds import Hold, HoldKind
from shared.retention.policy import Kind, RetentionPolicy, Rule
from shared.storage import explanation_key
from shared.storage.s3 import S3Store
from tests.integration.jobs import finish, post, take

PNG_SHA256 = "5" * 64


@dataclass(frozen=True)
class Patient:
    """What is known of one, and the job and the order of a specimen."""

    ref: str
    accession_number: str
    comment: str
    callback_url: str
    study_uid: str
    job_id: uuid.UUID
    order_id: uuid.UUID

    @property
    def words(self) -> tuple[str, ...]:
        """What nothing may tell once it is erased."""
        return (self.ref, self.accession_number, self.comment, self.callback_url, self.study_uid)


def a_patient(
    sessions: Sessions,
    storage: S3Store,
    key_id: str,
    name: str = "7",
    *,
    tenant: str = DEFAULT_TENANT,
) -> Patient:
    """A patient with an order, and a job that has a row in every table and every object."""
    order, _ = place(
        sessions,
        NewOrder(accession_number=f"ACC-{name}", patient_ref=f"pn-{name}"),
        tenant=tenant,
        key_id=key_id,
    )
    patient = Patient(
        ref=f"pn-{name}",
        accession_number=f"ACC-{name}",
        comment=f"Ada Lovelace {name}",
        callback_url=f"https://lis.example/{name}",
        study_uid=f"1.2.3.{name}",
        job_id=a_result_of(
            sessions,
            storage,
            key_id,
            tenant=tenant,
            patient_ref=f"pn-{name}",
            accession_number=f"ACC-{name}",
            specimen_id=f"S-{name}",
            idempotency_key=f"once-{name}",
            callback_url=f"https://lis.example/{name}",
        ).id,
        order_id=order.id,
    )
    _fill(sessions, patient, key_id)
    key = explanation_key(patient.job_id, 0, "gradcam", PNG_SHA256)
    storage.put(key, io.BytesIO(b"png"), 3, "image/png")
    return patient


def a_result_of(
    sessions: Sessions,
    storage: S3Store,
    key_id: str,
    *,
    tenant: str = DEFAULT_TENANT,
    **fields: object,
) -> Job:
    """A job that succeeded."""
    job = post(sessions, storage, key_id, tenant=tenant, **fields).job
    held = take(sessions, job)
    assert held is not None
    assert finish(sessions, held)
    return get_job(sessions, job.id, tenant=tenant)


def _fill(sessions: Sessions, patient: Patient, key_id: str) -> None:
    job_id = patient.job_id
    rows = (
        ExplanationRow(
            job_id=job_id,
            image_index=0,
            method="gradcam",
            status="succeeded",
            document={"label": "Benign"},
            png_sha256=PNG_SHA256,
            finished_at=utc_now(),
        ),
        ExplanationRow(job_id=job_id, image_index=0, method="lime"),
        ReviewRow(
            job_id=job_id,
            decision="confirm",
            label="Benign",
            comment=patient.comment,
            api_key_id=key_id,
        ),
        ShadowResultRow(job_id=job_id, name="student", version=2, error_code="internal_error"),
        DicomSourceRow(
            job_id=job_id,
            index=0,
            study_uid=patient.study_uid,
            series_uid="1.2",
            instance_uid="1.3",
            sop_class_uid="1.4",
            frame=1,
        ),
        WebhookRow(id=uuid.uuid4(), job_id=job_id, event="job.succeeded", url=patient.callback_url),
    )
    with sessions.begin() as session:
        session.add_all(rows)


def hold_on(sessions: Sessions, patient: Patient, kind: HoldKind) -> Hold:
    """A hold on a patient, named in one of the ways there are."""
    values = {
        HoldKind.JOB: str(patient.job_id),
        HoldKind.PATIENT_REF: patient.ref,
        HoldKind.ACCESSION_NUMBER: patient.accession_number,
    }
    told = {"tenant": DEFAULT_TENANT, "reason": "m-1", "actor": "operator"}
    return holds.place(sessions, kind, values[kind], **told)


def tables_that_tell(database: Engine, word: str) -> set[str]:
    """The tables of which a row has a text in it, anywhere."""
    telling = set()
    with database.connect() as connection:
        for table in Base.metadata.sorted_tables:
            count = text(
                f"SELECT count(*) FROM {table.name} AS t WHERE CAST(t AS text) LIKE :pattern"
            )
            if connection.scalar(count, {"pattern": f"%{word}%"}):
                telling.add(table.name)
    return telling


def objects_of(storage: S3Store, job_id: uuid.UUID) -> list[str]:
    """The keys of all objects of a job."""
    prefix = f"jobs/{job_id}/"
    return [found.key for found in storage.list(prefix, after=prefix)]


def policy(**keep: str) -> RetentionPolicy:
    """A policy that keeps all for ever but some kinds."""
    rules = {kind: Rule(keep=keep.get(kind, "forever"), reason="a test") for kind in Kind}
    return RetentionPolicy(version="1", rules=rules)
