"""A workitem follows the job that its images became."""

from __future__ import annotations

import io
import uuid

from pydicom import dcmread
from pydicom.uid import generate_uid

from shared.db.models import DicomSourceRow
from shared.errors import UnsupportedPixelFormatError
from shared.jobs.complete import complete, give_up
from tests import dicom
from tests.integration.jobs import a_result
from tests.integration.workitems.steps import (
    STUDY,
    URL,
    a_job,
    found,
    read,
    run,
    state,
    uid_of,
    warned,
)


def test_an_order_follows_the_job_that_its_images_became(client, sessions, order) -> None:
    job = a_job(client, accession_number="A-1")
    assert found(client) == [order]
    step = read(client, order)
    assert (step.ProcedureStepState, step.InputReadinessState) == ("SCHEDULED", "READY")
    held = run(sessions, job)
    assert read(client, order).ProcedureStepState == "IN PROGRESS"
    with sessions.begin() as session:
        names = {"study_uid": STUDY, "series_uid": f"{STUDY}.1", "instance_uid": f"{STUDY}.1.1"}
        kind = {"sop_class_uid": "1.2.840.10008.5.1.4.1.1.77.1.2", "frame": 1}
        session.add(DicomSourceRow(job_id=uuid.UUID(job), index=0, **names, **kind))
    assert complete(sessions, [(held, a_result(uuid.UUID(job)))])
    step = read(client, order)
    assert step.ProcedureStepState == "COMPLETED"
    [progress] = step.ProcedureStepProgressInformationSequence
    [contact] = progress.ProcedureStepCommunicationsURISequence
    assert contact.ContactURI == f"http://localhost/v1/jobs/{job}"
    assert progress.ProcedureStepProgress == 100
    assert step.InputInformationSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == (
        f"{STUDY}.1.1"
    )
    assert read(client, uid_of(job)).ProcedureStepState == "COMPLETED"


def test_the_output_of_a_workitem_is_the_report_under_its_uids(client, sessions) -> None:
    study = generate_uid()
    sent = client.post(
        "/v1/jobs", data=dicom.dicom_bytes(study=study), content_type="application/dicom"
    )
    job = sent.json["id"]
    assert complete(sessions, [(run(sessions, job), a_result(uuid.UUID(job)))])
    [done] = read(client, uid_of(job)).UnifiedProcedureStepPerformedProcedureSequence
    [output] = done.OutputInformationSequence
    address = output.WADORSRetrievalSequence[0].RetrieveURL
    fetched = client.get(address, headers={"Accept": "application/dicom"})
    report = dcmread(io.BytesIO(fetched.data))
    [named] = output.ReferencedSOPSequence
    assert (output.StudyInstanceUID, output.SeriesInstanceUID) == (study, report.SeriesInstanceUID)
    assert (named.ReferencedSOPClassUID, named.ReferencedSOPInstanceUID) == (
        report.SOPClassUID,
        report.SOPInstanceUID,
    )


def test_a_job_that_failed_says_why_it_is_canceled(client, sessions) -> None:
    job = a_job(client)
    give_up(sessions, run(sessions, job), UnsupportedPixelFormatError(), max_attempts=3)
    step = read(client, uid_of(job))
    assert step.ProcedureStepState == "CANCELED"
    [progress] = step.ProcedureStepProgressInformationSequence
    [reason] = progress.ProcedureStepDiscontinuationReasonCodeSequence
    assert (reason.LongCodeValue, reason.CodingSchemeDesignator) == (
        "unsupported_pixel_format",
        "99HEMOTRIAGE",
    )


def test_a_job_is_no_other_performers(client, sessions, order) -> None:
    alone, ordered = a_job(client), a_job(client, accession_number="A-1")
    for uid in (uid_of(alone), uid_of(ordered), order):
        for wanted in ("IN PROGRESS", "COMPLETED", "CANCELED"):
            assert state(client, uid, wanted).status_code == 409
    held = run(sessions, alone)
    assert state(client, uid_of(alone), "CANCELED").status_code == 409
    assert complete(sessions, [(held, a_result(uuid.UUID(alone)))])
    done = state(client, uid_of(alone), "COMPLETED")
    words = "The UPS is already in the requested state of COMPLETED."
    assert (done.status_code, warned(done)) == (200, words)


def test_a_workitem_that_was_ended_elsewhere_stays_so_when_images_come(client, order) -> None:
    client.post(f"{URL}/{order}/cancelrequest")
    job = uid_of(a_job(client, accession_number="A-1"))
    assert read(client, order).ProcedureStepState == "CANCELED"
    assert found(client) == [job, order]


def test_a_job_that_was_taken_back_leaves_its_order_expected(client, order) -> None:
    job = a_job(client, accession_number="A-1")
    client.delete(f"/v1/jobs/{job}")
    assert read(client, order).ProcedureStepState == "SCHEDULED"
    assert read(client, uid_of(job)).ProcedureStepState == "CANCELED"
    assert found(client) == [order]
