"""DICOM comes in over HTTP as jobs of pixels, and no patient comes in with it."""

from __future__ import annotations

import io
import json
import logging
import uuid

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image
from pydantic import SecretStr
from pydicom import uid
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from sqlalchemy import select, text

from services.api.app import create_app
from shared.db.models import Base, JobRow
from shared.interop.dicom.deidentify import IDENTIFYING, KEPT
from shared.interop.sources import read_sources
from tests import dicom
from tests.canaries import SENTINEL
from tests.factories import smear_bytes
from tests.integration.jobs import count
from tests.integration.posting import authorised, post


@pytest.fixture
def client(settings, sessions, storage) -> FlaskClient:
    secret = {"pseudonym_secret": SecretStr(dicom.SECRET)}
    return authorised(create_app(settings.model_copy(update=secret)), sessions)


def stow(client, *files: bytes, study: str = "", headers: dict | None = None, part: str = "", **kw):
    media_type = part or "application/dicom"
    body = b"".join(
        b"--B\r\nContent-Type: %s\r\n\r\n%s\r\n" % (media_type.encode(), data) for data in files
    )
    kw.setdefault("content_type", 'multipart/related; type="application/dicom"; boundary=B')
    return client.post(f"/dicomweb/studies{study}", data=body + b"--B--\r\n", headers=headers, **kw)


def named(answer, tag: str) -> list[dict]:
    return json.loads(answer.data).get(tag, {}).get("Value", [])


def reasons(answer, tag: str = "00081198") -> list[int]:
    return [item["00081197"]["Value"][0] for item in named(answer, tag)]


def test_a_dicom_body_becomes_a_result(client, runner) -> None:
    image = dicom.field(size=224)
    data = dicom.dicom_bytes(image)
    accepted = client.post("/v1/jobs", data=data, content_type="application/dicom")
    assert accepted.status_code == 202
    job = client.get(accepted.headers["Location"]).json
    assert (job["accession_number"], job["specimen_id"]) == ("ACC-1", "SLIDE-1")
    assert job["patient_ref"].startswith("pn-")
    stored = client.get(accepted.json["links"]["images"][0])
    assert stored.content_type == "image/png"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(stored.data))), np.asarray(image))
    runner.run(uuid.UUID(accepted.json["id"]), worker="w")
    assert client.get(accepted.headers["Location"]).json["status"] == "succeeded"


def test_frames_and_images_are_fields_of_one_job(client, sessions) -> None:
    frames = dicom.dicom_bytes(dicom.field(1), dicom.field(2))
    job_id = post(client, smear_bytes(), frames).json["id"]
    sources = read_sources(sessions, uuid.UUID(job_id))
    assert [(source.index, source.frame) for source in sources] == [(1, 1), (2, 2)]


def test_what_the_client_says_comes_before_the_header(client) -> None:
    answer = post(client, dicom.dicom_bytes(), accession_number="ACC-77", patient_ref="pn-mine")
    job = client.get(answer.headers["Location"]).json
    told = (job["accession_number"], job["patient_ref"], job["specimen_id"])
    assert told == ("ACC-77", "pn-mine", "SLIDE-1")


def test_without_the_secret_nobody_gets_a_pseudonym(settings, sessions, storage) -> None:
    client = authorised(create_app(settings), sessions)
    answer = post(client, dicom.dicom_bytes())
    assert client.get(answer.headers["Location"]).json["patient_ref"] is None


def test_files_of_two_specimens_are_no_job(client) -> None:
    two = [dicom.dicom_bytes(ContainerIdentifier=name) for name in ("S-1", "S-2")]
    answer = post(client, *two)
    assert (answer.status_code, answer.json["code"]) == (422, "mixed_specimens")


def test_too_many_frames_in_all_are_refused(client, settings) -> None:
    frames = [dicom.field(size=32)] * (settings.max_files // 2 + 1)
    answer = post(client, dicom.dicom_bytes(*frames), dicom.dicom_bytes(*frames))
    assert (answer.status_code, answer.json["code"]) == (413, "too_many_files")


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (dicom.dicom_bytes()[:900], 422, "corrupt_dicom"),
        (dicom.dicom_bytes(SOPClassUID=uid.CTImageStorage), 415, "unsupported_sop_class"),
        (dicom.dicom_bytes(BurnedInAnnotation="YES"), 422, "burned_in_annotation"),
        (b"\0" * 128 + b"DICM" + b"\xff" * 5000, 422, "corrupt_dicom"),
        (b"\0" * 128 + b"DICM", 422, "corrupt_dicom"),
        (dicom.crashing(), 422, "corrupt_dicom"),
    ],
)
def test_a_bad_file_is_a_problem_document(client, data, status, code) -> None:
    answer = post(client, smear_bytes(), data)
    assert (answer.status_code, answer.json["code"]) == (status, code)
    assert "Image 1." in answer.json["detail"]


def test_deflated_files_of_a_request_share_one_bound(settings, sessions, storage) -> None:
    small = settings.model_copy(update={"max_request_bytes": 5 * 1024**2})
    client = authorised(create_app(small), sessions)
    data = dicom.deflated_bomb(3)
    answer = post(client, data, data)
    assert (answer.status_code, answer.json["code"]) == (413, "payload_too_large")
    answer = stow(client, data, data)
    assert (answer.status_code, reasons(answer, "0008119A")) == (202, [0xA700])
    assert count(sessions, JobRow) == 1


def test_stow_makes_a_job_a_study_in_order_of_its_instances(client, sessions) -> None:
    study, other = uid.generate_uid(), uid.generate_uid()
    files = [dicom.dicom_bytes(study=study, InstanceNumber=number) for number in (3, 1, 2)]
    answer = stow(client, *files, dicom.dicom_bytes(study=other))
    assert (answer.status_code, answer.content_type) == (200, "application/dicom+json")
    urls = {item["00081190"]["Value"][0] for item in named(answer, "00081199")}
    assert len(named(answer, "00081199")) == 4
    assert len(urls) == count(sessions, JobRow) == 2
    with sessions() as session:
        ids = session.scalars(select(JobRow.id)).all()
    by_study = {read_sources(sessions, job_id)[0].study_uid: job_id for job_id in ids}
    order = [source.instance_uid for source in read_sources(sessions, by_study[study])]
    expected = [dicom_uid(files[index]) for index in (1, 2, 0)]
    assert order == expected


def dicom_uid(data: bytes) -> str:
    from pydicom import dcmread  # noqa: PLC0415 - beside its one use

    return str(dcmread(io.BytesIO(data)).SOPInstanceUID)


def test_two_specimens_of_a_study_are_two_jobs(client, sessions) -> None:
    study = uid.generate_uid()
    files = [dicom.dicom_bytes(study=study, ContainerIdentifier=name) for name in ("S-1", "S-2")]
    assert stow(client, *files).status_code == 200
    assert count(sessions, JobRow) == 2


def test_a_frame_that_crashes_its_decoder_is_alone_refused(client, sessions) -> None:
    good = dicom.in_syntax(uid.JPEGLosslessSV1, dicom.field(), ContainerIdentifier="S-2")
    answer = stow(client, dicom.crashing(), good)
    assert answer.status_code == 202
    assert reasons(answer) == [0xC000]
    assert len(named(answer, "00081199")) == count(sessions, JobRow) == 1


def test_stow_again_is_the_same_job(client, sessions) -> None:
    data = dicom.dicom_bytes()
    first, again = stow(client, data), stow(client, data)
    assert first.data == again.data
    assert count(sessions, JobRow) == 1


def test_stow_says_which_instances_it_did_not_take(client, sessions) -> None:
    study = uid.generate_uid()
    good = dicom.dicom_bytes(study=study)
    bad = dicom.dicom_bytes(study=study, SOPClassUID=uid.CTImageStorage)
    answer = stow(client, good, bad, b"no DICOM")
    assert (answer.status_code, reasons(answer)) == (202, [0x0122])
    assert reasons(answer, "0008119A") == [0xC000]
    assert len(named(answer, "00081199")) == 1
    assert count(sessions, JobRow) == 1


def test_stow_of_nothing_usable_is_a_conflict(client, sessions) -> None:
    damaged = dicom.dicom_bytes(NumberOfFrames=2)
    other_study = dicom.dicom_bytes()
    answer = stow(client, damaged, other_study, study=f"/{uid.generate_uid()}")
    assert (answer.status_code, reasons(answer)) == (409, [0xA900, 0xA900])
    assert reasons(stow(client, damaged)) == [0xC000]
    assert count(sessions, JobRow) == 0


def test_stow_of_one_study_takes_its_instances(client) -> None:
    study = uid.generate_uid()
    assert stow(client, dicom.dicom_bytes(study=study), study=f"/{study}").status_code == 200


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ({"headers": {"Accept": "application/dicom+xml"}}, 406),
        ({"content_type": "application/dicom"}, 415),
        ({"content_type": 'multipart/related; type="application/dicom+xml"; boundary=B'}, 415),
        ({"part": "application/json"}, 415),
        ({"content_type": "multipart/related; boundary=other"}, 400),
        ({"content_type": "multipart/related"}, 400),
    ],
)
def test_stow_of_other_types_is_refused(client, request_, status) -> None:
    assert stow(client, dicom.dicom_bytes(), **request_).status_code == status


def test_stow_of_a_body_that_ends_early_makes_no_job(client, sessions) -> None:
    body = b"--B\r\nContent-Type: application/dicom\r\n\r\n" + dicom.dicom_bytes()
    content_type = "multipart/related; boundary=B"
    for end in (b"", b"\r\n--B", b"\r\n--B\r\nContent-Type"):
        answer = client.post("/dicomweb/studies", data=body + end, content_type=content_type)
        assert (answer.status_code, answer.json["code"]) == (400, "bad_request")
    assert count(sessions, JobRow) == 0


def test_stow_needs_a_key(client) -> None:
    assert stow(client, b"", headers={"Authorization": "Bearer x"}).status_code == 401


def marked() -> Dataset:
    """An image that names its patient in every attribute of the table, and in private ones."""
    ds = dicom.dataset(dicom.field(), PatientID=f"{SENTINEL}-7")
    inner = Dataset()
    inner.PatientName = SENTINEL
    for tag in sorted(IDENTIFYING - KEPT):
        if tag >> 16 in (0x0028, 0x7FE0):
            continue
        representation = vr_of(tag)
        if representation == "SQ":
            ds.add_new(tag, "SQ", [inner])
        elif representation in ("PN", "LO", "SH", "ST", "LT", "UT", "UC", "UR", "CS", "AE"):
            ds.add_new(tag, representation, SENTINEL)
        elif representation in ("OB", "UN"):
            ds.add_new(tag, representation, SENTINEL.encode())
    ds.private_block(0x0099, "SYNTHETIC", create=True).add_new(0x01, "LO", SENTINEL)
    return ds


def vr_of(tag: int) -> str:
    try:
        return dictionary_VR(tag)
    except KeyError:
        return "LO"


def everything_in(sessions) -> str:
    with sessions() as session:
        rows = [
            str(row)
            for table in Base.metadata.sorted_tables
            for row in session.execute(text(f'SELECT "{table.name}"::text FROM "{table.name}"'))
        ]
    return "\n".join(rows)


def test_no_attribute_that_names_a_patient_gets_anywhere(
    client, sessions, storage, caplog, capsys
) -> None:
    caplog.set_level(logging.DEBUG)
    whole = dicom.file_of(marked())
    assert whole.count(SENTINEL.encode()) > 250
    answers = [
        post(client, whole),
        stow(client, whole),
        post(client, whole[: len(whole) - 500]),
        stow(client, whole[: len(whole) - 500]),
        post(client, dicom.with_element(whole, b"\x08\x00\x50\x00SH\xff\xff" + b"ZZNAMEZZ" * 10)),
    ]
    assert [answer.status_code for answer in answers[:2]] == [202, 200]
    jobs = client.get("/v1/jobs").data
    links = answers[0].json["links"]["images"]
    bodies = [answer.data for answer in answers] + [client.get(link).data for link in links]
    headers = [str(answer.headers).encode() for answer in answers]
    shown = capsys.readouterr()
    places = [*bodies, *headers, jobs, everything_in(sessions).encode(), caplog.text.encode()]
    places += [shown.out.encode(), shown.err.encode()]
    assert not [place[:200] for place in places if SENTINEL.encode() in place]
