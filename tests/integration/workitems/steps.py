"""Workitems as a PACS writes, sends and reads them."""

from __future__ import annotations

import json
import uuid
from typing import Any

from flask.testing import FlaskClient
from pydicom.dataset import Dataset

from shared.db.session import Sessions
from shared.jobs.claim import claim
from tests.canaries import SENTINEL
from tests.factories import smear_bytes
from tests.integration.posting import post

URL = "/dicomweb/workitems"
TYPE = "application/dicom+json"
STUDY = "1.2.826.0.1.3680043.8.498.7"
TRANSACTION = {"TransactionUID": "2.25.17"}


def data_set(**changes: Any) -> Dataset:
    """A workitem as PS3.4, table CC.2.5-3, wants it; a change to None leaves it out."""
    request = Dataset()
    request.AccessionNumber = changes.pop("accession", "A-1")
    request.StudyInstanceUID = STUDY
    request.PlacerOrderNumberImagingServiceRequest = "P-1"
    step = Dataset()
    step.ScheduledProcedureStepPriority = "HIGH"
    step.ProcedureStepLabel = "Triage"
    step.ScheduledProcedureStepStartDateTime = "20260102030405+0700"
    step.InputReadinessState = "INCOMPLETE"
    step.ProcedureStepState = "SCHEDULED"
    step.PatientName = f"{SENTINEL}^Person"
    step.PatientID, step.IssuerOfPatientID = f"{SENTINEL}-1", "CLINIC"
    step.ReferencedRequestSequence = [request]
    for keyword, value in changes.items():
        if value is None:
            delattr(step, keyword)
        else:
            setattr(step, keyword, value)
    return step


def body(dataset: Dataset) -> dict[str, Any]:
    return {"data": json.dumps([dataset.to_json_dict()]), "content_type": TYPE}


def said(**values: Any) -> dict[str, Any]:
    dataset = Dataset()
    dataset.update(values)
    return body(dataset)


def create(client: FlaskClient, query: str = "", **changes: Any) -> str:
    answer = client.post(f"{URL}{query}", **body(data_set(**changes)))
    assert answer.status_code == 201, answer.data
    return answer.headers["Location"].rpartition("/")[2]


def read(client: FlaskClient, uid: str) -> Dataset:
    answer = client.get(f"{URL}/{uid}", headers={"Accept": TYPE})
    assert (answer.status_code, answer.content_type) == (200, TYPE)
    [document] = json.loads(answer.data)
    return Dataset.from_json(document)


def found(client: FlaskClient, **query: str) -> list[str]:
    answer = client.get(URL, query_string=query)
    assert answer.status_code in (200, 204), answer.data
    documents = json.loads(answer.data) if answer.status_code == 200 else []
    return [Dataset.from_json(one).SOPInstanceUID for one in documents]


def state(client: FlaskClient, uid: str, wanted: str, **more: Any):
    values = {"ProcedureStepState": wanted, **TRANSACTION, **more}
    kept = {name: value for name, value in values.items() if value is not None}
    return client.put(f"{URL}/{uid}/state", **said(**kept))


def warned(answer) -> str:
    service, _, words = answer.headers.get("Warning", "").partition(": ")
    assert not words or service == "299 http://localhost/dicomweb"
    return words


def uid_of(job_id: str) -> str:
    return f"2.25.{uuid.UUID(job_id).int}"


def a_job(client: FlaskClient, **fields: str) -> str:
    return post(client, smear_bytes(), **fields).json["id"]


def run(sessions: Sessions, job_id: str):
    """Have a worker begin with a job."""
    key = uuid.UUID(job_id)
    return claim(sessions, [key], worker="w", lease_seconds=60)[key]
