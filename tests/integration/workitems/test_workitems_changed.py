"""A PACS updates, claims, ends and cancels workitems, where it may."""

from __future__ import annotations

import uuid

import pytest
from pydicom.dataset import Dataset

from shared.jobs.complete import complete
from tests.integration.jobs import a_result
from tests.integration.workitems.steps import (
    URL,
    a_job,
    create,
    read,
    run,
    said,
    state,
    uid_of,
    warned,
)


def test_an_order_says_something_else_after_an_update(client, order) -> None:
    before = read(client, order)
    changes = {"ScheduledProcedureStepPriority": "LOW", "PatientID": before.PatientID}
    answer = client.post(f"{URL}/{order}", **said(**changes))
    assert (answer.status_code, answer.data) == (200, b"")
    assert warned(answer) == "The Workitem was updated with modifications."
    after = read(client, order)
    assert after.ScheduledProcedureStepPriority == "LOW"
    assert after.PatientID == before.PatientID
    assert after.ReferencedRequestSequence == before.ReferencedRequestSequence
    assert (
        after.ScheduledProcedureStepModificationDateTime
        > before.ScheduledProcedureStepModificationDateTime
    )


def test_an_order_keeps_its_accession_number(client, order) -> None:
    request = Dataset()
    for number in ("A-2", "A-3"):
        request.AccessionNumber = number
        answer = client.post(f"{URL}/{order}", **said(ReferencedRequestSequence=[request]))
        assert answer.status_code == 400
        create(client, accession="A-3") if number == "A-2" else None
    assert read(client, order).ReferencedRequestSequence[0].AccessionNumber == "A-1"


def test_a_workitem_is_updated_only_by_who_may(client, sessions, order) -> None:
    change = said(ScheduledProcedureStepPriority="LOW")
    target = f"{URL}/{order}"
    unclaimed = client.post(f"{target}?transaction-uid=2.25.17", **change)
    assert unclaimed.status_code == 409
    assert warned(unclaimed) == "The target URI did not reference a claimed Workitem."
    assert state(client, order, "IN PROGRESS").status_code == 200
    held = client.post(f"{target}?transaction-uid=2.25.17", **change)
    assert held.status_code == 200
    assert warned(held) == "Requested optional Attributes are not supported."
    for query in ("", "?transaction-uid=2.25.18"):
        other = client.post(f"{target}{query}", **change)
        assert other.status_code == 400
        assert warned(other) == (
            "The submitted request is inconsistent with the current state of the Workitem."
        )
    assert state(client, order, "COMPLETED").status_code == 200
    assert client.post(f"{target}?transaction-uid=2.25.17", **change).status_code == 400
    job = a_job(client)
    ours = client.post(f"{URL}/{uid_of(job)}", **change)
    assert ours.status_code == 409
    assert read(client, order).ScheduledProcedureStepPriority == "HIGH"


@pytest.mark.parametrize("end", ["COMPLETED", "CANCELED"])
def test_another_performer_claims_an_order_and_ends_it(client, order, end) -> None:
    assert state(client, order, "IN PROGRESS").status_code == 200
    claimed = read(client, order)
    assert claimed.ProcedureStepState == "IN PROGRESS"
    assert "TransactionUID" not in claimed
    twice = state(client, order, "IN PROGRESS")
    inconsistent = "The submitted request is inconsistent with the state of the UPS Instance."
    assert (twice.status_code, warned(twice)) == (409, inconsistent)
    wrong = state(client, order, end, TransactionUID="2.25.18")
    assert (wrong.status_code, warned(wrong)) == (400, "The Transaction UID is incorrect.")
    missing = state(client, order, end, TransactionUID=None)
    assert (missing.status_code, warned(missing)) == (400, "The Transaction UID is missing.")
    first = state(client, order, end)
    assert (first.status_code, first.data, warned(first)) == (200, b"", "")
    assert read(client, order).ProcedureStepState == end
    again = state(client, order, end)
    words = f"The UPS is already in the requested state of {end}."
    assert (again.status_code, warned(again)) == (200, words)
    for other in {"IN PROGRESS", "COMPLETED", "CANCELED"} - {end}:
        assert state(client, order, other).status_code == 409


def test_what_nobody_claimed_nobody_ends(client, order) -> None:
    for wanted in ("COMPLETED", "CANCELED"):
        assert state(client, order, wanted).status_code == 409
    assert state(client, order, "IN PROGRESS", TransactionUID="no uid").status_code == 400
    assert read(client, order).ProcedureStepState == "SCHEDULED"


def test_an_expected_order_is_cancelled_at_once(client, order) -> None:
    answer = client.post(f"{URL}/{order}/cancelrequest")
    assert (answer.status_code, answer.data, warned(answer)) == (202, b"", "")
    assert read(client, order).ProcedureStepState == "CANCELED"
    again = client.post(f"{URL}/{order}/cancelrequest", **said(ContactDisplayName="x"))
    words = "The UPS is already in the requested state of CANCELED."
    assert (again.status_code, warned(again)) == (202, words)


def test_a_queued_job_is_cancelled_with_its_order(client, order) -> None:
    ordered, alone = a_job(client, accession_number="A-1"), a_job(client)
    for uid, job in ((order, ordered), (uid_of(alone), alone)):
        assert client.post(f"{URL}/{uid}/cancelrequest").status_code == 202
        assert client.get(f"/v1/jobs/{job}").json["status"] == "cancelled"
        assert read(client, uid).ProcedureStepState == "CANCELED"


def test_work_that_goes_on_or_is_done_is_not_cancelled(client, sessions, order) -> None:
    job = a_job(client)
    held = run(sessions, job)
    running = client.post(f"{URL}/{uid_of(job)}/cancelrequest")
    assert (running.status_code, warned(running)) == (409, "Performer chooses not to cancel.")
    assert complete(sessions, [(held, a_result(uuid.UUID(job)))])
    done = client.post(f"{URL}/{uid_of(job)}/cancelrequest")
    assert (done.status_code, warned(done)) == (409, "The UPS is already COMPLETED.")
    state(client, order, "IN PROGRESS")
    claimed = client.post(f"{URL}/{order}/cancelrequest")
    assert (claimed.status_code, warned(claimed)) == (409, "The performer cannot be contacted.")
