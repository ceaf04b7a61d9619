"""A PACS searches the workitems by what they say, a page at a time."""

from __future__ import annotations

import uuid

from shared.jobs.complete import complete
from tests.integration.jobs import a_result
from tests.integration.workitems.steps import (
    SENTINEL,
    URL,
    a_job,
    create,
    found,
    read,
    run,
    state,
    uid_of,
    warned,
)


def test_a_patient_is_found_by_the_number_that_was_sent_and_by_its_pseudonym(client, order) -> None:
    create(client, accession="A-2", PatientID="SYN-77")
    known = read(client, order).PatientID
    assert found(client, PatientID=f"{SENTINEL}-1", IssuerOfPatientID="CLINIC") == [order]
    assert found(client, PatientID=known) == [order]
    assert found(client, PatientID=f"{SENTINEL}-1") == []


def test_workitems_are_searched_by_state_priority_number_and_start(client, sessions, order) -> None:
    late = {"ScheduledProcedureStepStartDateTime": "20260301"}
    later = create(client, accession="B_2", ScheduledProcedureStepPriority="LOW", **late)
    job = uid_of(a_job(client, accession_number="C%3", priority="urgent"))
    start, number = (
        "ScheduledProcedureStepStartDateTime",
        "ReferencedRequestSequence.AccessionNumber",
    )
    assert found(client) == [job, later, order]
    assert found(client, ScheduledProcedureStepPriority="MEDIUM") == [job]
    assert found(client, **{"00741200": "LOW"}) == [later]
    assert found(client, **{number: "B_2"}) == found(client, **{number: "*_?"}) == [later]
    assert found(client, **{"0040A370.00080050": "C%*"}) == [job]
    assert found(client, **{start: "20260101-20260201"}) == [order]
    assert (
        found(client, **{start: "202603"}) == found(client, **{start: "20260301-202604"}) == [later]
    )
    assert found(client, **{start: "20260302-", "ScheduledProcedureStepPriority": "LOW"}) == []
    assert found(client, SOPInstanceUID=f"{order},{job},1.2.3") == [job, order]
    assert found(client, SOPInstanceUID="1.2.3") == []
    assert found(client, ProcedureStepState="IN PROGRESS") == []
    run(sessions, str(uuid.UUID(int=int(job.removeprefix("2.25.")))))
    assert found(client, ProcedureStepState="IN PROGRESS") == [job]
    assert state(client, later, "IN PROGRESS").status_code == 200
    assert found(client, ProcedureStepState="IN PROGRESS") == [job, later]
    assert found(client, ProcedureStepState="SCHEDULED") == [order]
    client.post(f"{URL}/{order}/cancelrequest")
    assert found(client, ProcedureStepState="CANCELED") == [order]
    assert found(client, ProcedureStepState="COMPLETED") == []


def test_each_workitem_is_found_in_the_state_that_it_has(client, sessions, order) -> None:
    job = a_job(client, accession_number="A-1")
    for wanted in ("SCHEDULED", "IN PROGRESS", "COMPLETED"):
        if wanted == "IN PROGRESS":
            held = run(sessions, job)
        if wanted == "COMPLETED":
            assert complete(sessions, [(held, a_result(uuid.UUID(job)))])
        assert read(client, order).ProcedureStepState == wanted
        names = ("SCHEDULED", "IN PROGRESS", "COMPLETED", "CANCELED")
        in_state = {name: found(client, ProcedureStepState=name) for name in names}
        assert {name for name, uids in in_state.items() if uids} == {wanted}


def test_pages_follow_each_other_and_say_what_is_left(client) -> None:
    made = [create(client, accession=f"A-{number}") for number in range(3)]
    first = client.get(URL, query_string={"limit": "2"})
    assert warned(first) == "There are 1 additional results that can be requested"
    assert found(client, limit="2") == [made[2], made[1]]
    assert found(client, limit="2", offset="2") == [made[0]]
    last = client.get(URL, query_string={"limit": "2", "offset": "2"})
    assert "Warning" not in last.headers
    none = client.get(URL, query_string={"offset": "3"})
    assert (none.status_code, none.data) == (204, b"")
    assert client.get(URL, query_string={"limit": "0"}).status_code == 204


def test_what_a_search_cannot_do_it_says(client, order) -> None:
    fuzzy = client.get(URL, query_string={"fuzzymatching": "true", "includefield": "all"})
    assert fuzzy.status_code == 200
    assert warned(fuzzy) == (
        "The fuzzymatching parameter is not supported. Only literal matching has been performed."
    )
    assert "Warning" not in client.get(URL, query_string={"fuzzymatching": "false"}).headers
    assert found(client, PatientName="", WorklistLabel="*", PatientID="") == [order]
