"""Results over HTTP in every form, as `Accept` asks for it, and at the command line."""

from __future__ import annotations

import io
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from subprocess import CompletedProcess

import hl7
import pydicom
import pytest
from fhir.resources.R4B.bundle import Bundle
from flask.testing import FlaskClient
from werkzeug.serving import make_server

from services.api.app import create_app
from shared.auth.keys import Scope, create_key
from shared.db.models import DicomSourceRow
from shared.db.session import Sessions
from shared.interop.forms import HL7_OVER_HTTP, MEDIA_TYPES, ResultForm
from shared.jobs.claim import claim
from shared.jobs.complete import complete
from shared.settings import Settings
from shared.storage.s3 import S3Store
from shared.triage.wording.indonesian import INDONESIAN
from tests.command_line import command_line
from tests.factories import smear_bytes
from tests.integration.jobs import a_result
from tests.integration.posting import post

JSON, FHIR, HL7, DICOM = (MEDIA_TYPES[form] for form in ResultForm)
STUDY = "1.2.826.0.1.3680043.8.498.1"
MICROSCOPIC = "1.2.840.10008.5.1.4.1.1.77.1.2"


@pytest.fixture
def waiting(client: FlaskClient) -> str:
    """The id of a job that waits."""
    return post(client, smear_bytes(), accession_number="A-17|^", patient_ref="pn-1").json["id"]


@pytest.fixture
def done(sessions: Sessions, waiting: str) -> str:
    """The id of a job with a result."""
    job_id = uuid.UUID(waiting)
    held = claim(sessions, [job_id], worker="w", lease_seconds=60)[job_id]
    assert complete(sessions, [(held, a_result(job_id))])
    return waiting


@pytest.fixture
def of_dicom(sessions: Sessions, done: str) -> str:
    """The id of a job with a result, whose image came as DICOM."""
    with sessions.begin() as session:
        uids = {"study_uid": STUDY, "series_uid": f"{STUDY}.1", "instance_uid": f"{STUDY}.1.1"}
        kind = {"sop_class_uid": MICROSCOPIC, "frame": 1}
        session.add(DicomSourceRow(job_id=uuid.UUID(done), index=0, **uids, **kind))
    return done


@pytest.fixture
def result(
    settings: Settings, sessions: Sessions, storage: S3Store
) -> Iterator[Callable[..., CompletedProcess[str]]]:
    """`hemotriage result` at the service under test."""
    server = make_server("127.0.0.1", 0, create_app(settings), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    _, key = create_key(sessions, "lis", [Scope.READ])
    url = f"http://127.0.0.1:{server.server_port}"
    yield partial(command_line, "result", HEMOTRIAGE_URL=url, HEMOTRIAGE_API_KEY=key)
    server.shutdown()
    thread.join()
    server.server_close()


def get(client: FlaskClient, job_id: str, accept: str | None = None, **headers: str):
    if accept is not None:
        headers["Accept"] = accept
    return client.get(f"/v1/jobs/{job_id}/result", headers=headers)


@pytest.mark.parametrize(
    ("accept", "given"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("application/json; charset=utf-8", JSON),
        (FHIR, FHIR),
        (f"{FHIR}; fhirVersion=4.0", FHIR),
        (f"{FHIR}; fhirVersion=5.0, {HL7};q=0.1", HL7),
        (f"{FHIR};charset=utf-8;q=0.9, {JSON};q=0.8", FHIR),
        (f"{FHIR};q=0.2, {HL7};q=0.7", HL7),
        (f"text/html, {HL7};q=0.1", HL7),
        (f"text/html, {FHIR};q=0, */*;q=0.1", JSON),
        (HL7_OVER_HTTP, HL7_OVER_HTTP),
        (f"{DICOM};transfer-syntax=*, {JSON};q=0.5", DICOM),
    ],
)
def test_a_result_has_the_form_that_is_wanted(
    client: FlaskClient, of_dicom: str, accept: str | None, given: str
) -> None:
    answer = get(client, of_dicom, accept)
    assert answer.status_code == 200
    assert answer.mimetype == given
    assert answer.headers.getlist("Vary") == ["Accept-Language", "Accept"]


@pytest.mark.parametrize(
    "accept", ["text/html", "application/fhir+xml", f"{FHIR};fhirVersion=3.0", f"{JSON};q=0"]
)
def test_a_form_that_there_is_not_is_refused_with_those_that_there_are(
    client: FlaskClient, done: str, accept: str
) -> None:
    answer = get(client, done, accept)
    assert (answer.status_code, answer.json["code"]) == (406, "not_acceptable")
    for media_type in MEDIA_TYPES.values():
        assert media_type in answer.json["detail"]


def test_json_is_what_it_was(client: FlaskClient, done: str) -> None:
    assert get(client, done).json == client.get(f"/v1/jobs/{done}").json["result"]


def test_fhir_is_a_valid_bundle_of_the_job(client: FlaskClient, of_dicom: str) -> None:
    answer = get(client, of_dicom, FHIR)
    Bundle.model_validate(answer.json)
    report = answer.json["entry"][0]["resource"]
    assert report["resourceType"] == "DiagnosticReport"
    assert report["basedOn"][0]["identifier"]["value"] == "A-17|^"
    assert report["imagingStudy"][0]["identifier"]["value"] == f"urn:oid:{STUDY}"


def test_hl7_is_a_message_in_utf_8(client: FlaskClient, done: str) -> None:
    answer = get(client, done, HL7, **{"Accept-Language": "id"})
    assert answer.content_type == f"{HL7}; charset=utf-8"
    parsed = hl7.parse(answer.data)
    assert str(parsed.segment("MSH")[9]) == "ORU^R01^ORU_R01"
    assert parsed.unescape(str(parsed.segment("OBR")[2])) == "A-17|^"
    assert str(parsed.segment("NTE")[3]) == INDONESIAN.disclaimer


def test_dicom_is_a_report_of_the_study(client: FlaskClient, of_dicom: str) -> None:
    answer = get(client, of_dicom, DICOM, **{"Accept-Language": "id"})
    assert answer.headers["Content-Language"] == "en", "its UID names one document"
    report = pydicom.dcmread(io.BytesIO(answer.data))
    assert report.StudyInstanceUID == STUDY
    assert report.PatientID == "pn-1"


def test_there_is_no_report_of_images_that_were_no_dicom(client: FlaskClient, done: str) -> None:
    answer = get(client, done, DICOM)
    assert (answer.status_code, answer.json["code"]) == (406, "no_dicom_source")


@pytest.mark.parametrize("accept", [JSON, FHIR, HL7, DICOM])
def test_no_form_is_there_before_the_result(client: FlaskClient, waiting: str, accept: str) -> None:
    answer = get(client, waiting, accept)
    assert (answer.status_code, answer.json["code"]) == (409, "no_result")
    missing = get(client, str(uuid.uuid4()), accept)
    assert (missing.status_code, missing.json["code"]) == (404, "not_found")


@pytest.mark.parametrize("accept", [JSON, FHIR, HL7, DICOM])
def test_the_same_is_not_sent_twice(client: FlaskClient, of_dicom: str, accept: str) -> None:
    first, again = get(client, of_dicom, accept), get(client, of_dicom, accept)
    assert first.data == again.data != b""
    known = first.headers["ETag"]
    unchanged = get(client, of_dicom, accept, **{"If-None-Match": known})
    assert (unchanged.status_code, unchanged.data) == (304, b"")
    head = client.head(f"/v1/jobs/{of_dicom}/result", headers={"Accept": accept})
    assert (head.status_code, head.data, head.headers["ETag"]) == (200, b"", known)


def test_each_form_and_language_has_a_tag_of_its_own(client: FlaskClient, of_dicom: str) -> None:
    asked = [(form, tag) for form in (JSON, FHIR, HL7, HL7_OVER_HTTP) for tag in ("en", "id")]
    tags = {
        get(client, of_dicom, form, **{"Accept-Language": tag}).headers["ETag"]
        for form, tag in asked
    }
    assert len(tags) == len(asked)


def test_a_key_needs_the_scope_whatever_the_form(client: FlaskClient, done: str) -> None:
    client.environ_base.pop("HTTP_AUTHORIZATION")
    for form in (JSON, FHIR, HL7, DICOM):
        assert get(client, done, form).status_code == 401


def test_the_document_names_every_form(client: FlaskClient) -> None:
    paths = client.get("/openapi.json").json["paths"]
    operation = paths["/v1/jobs/{job_id}/result"]["get"]
    content = operation["responses"]["200"]["content"]
    assert set(content) == {JSON, FHIR, HL7, HL7_OVER_HTTP, DICOM}
    assert {"304", "401", "403", "404", "406", "409"} <= set(operation["responses"])


def test_the_command_writes_every_form(
    result: Callable[..., CompletedProcess[str]], of_dicom: str, tmp_path: Path
) -> None:
    assert json.loads(result(of_dicom).stdout)["job_id"] == of_dicom
    assert json.loads(result(of_dicom, "--format", "fhir").stdout)["resourceType"] == "Bundle"
    message, report = tmp_path / "message.hl7", tmp_path / "report.dcm"
    done = result(of_dicom, "--format=hl7", "--out", message)
    assert (done.returncode, done.stdout) == (0, f"{message}\n")
    assert message.read_bytes().startswith(b"MSH|^~\\&|HEMOTRIAGE|")
    assert b"\r" in message.read_bytes()
    result(of_dicom, "--format=dicom", "--out", report)
    assert pydicom.dcmread(report).StudyInstanceUID == STUDY


def test_the_command_says_what_it_cannot_write(
    result: Callable[..., CompletedProcess[str]], done: str, tmp_path: Path
) -> None:
    assert result(done, "--format", "dicom").returncode == 2, "no file is named"
    refused = result(done, "--format", "dicom", "--out", tmp_path / "report.dcm")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "no_dicom_source" in refused.stderr
    assert not (tmp_path / "report.dcm").exists()
