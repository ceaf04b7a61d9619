"""A modality asks for a part of its worklist, by what DICOM matches with."""

from __future__ import annotations

import datetime as dt

import pytest

from tests.integration.worklist.queries import (
    DATE,
    NOON,
    PATIENT,
    TIME,
    ask,
    numbers,
    query,
)


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ({}, ["A-1", "A-2", "B-1"]),
        ({"AccessionNumber": "A-1"}, ["A-1"]),
        ({"AccessionNumber": "A-*"}, ["A-1", "A-2"]),
        ({"AccessionNumber": "?-1"}, ["A-1", "B-1"]),
        ({"AccessionNumber": "A%"}, []),
        ({"AccessionNumber": "*"}, ["A-1", "A-2", "B-1"]),
        ({"RequestedProcedureID": "A-2"}, ["A-2"]),
        ({"AccessionNumber": "A-1", "RequestedProcedureID": "A-2"}, []),
        ({"PatientID": PATIENT}, ["A-1"]),
        ({"PatientName": "pn-*"}, ["A-1"]),
        ({"PatientName": "Synthetic^Person"}, []),
    ],
)
def test_what_must_match_does(port: int, placed, keys: dict[str, str], found: list[str]) -> None:
    placed("A-1", patient_ref=PATIENT)
    placed("A-2")
    placed("B-1")
    assert numbers(port, query(**keys)) == found


@pytest.mark.parametrize(
    ("step", "found"),
    [
        ({"Modality": "SM"}, ["AT-11", "AT-12", "LATER"]),
        ({"Modality": "GM", "ScheduledStationAETitle": "SCOPE9"}, ["AT-11", "AT-12", "LATER"]),
        ({"Modality": "CT"}, []),
        ({"ScheduledPerformingPhysicianName": "Synthetic^Physician"}, []),
        ({"ScheduledProcedureStepID": "AT-11"}, ["AT-11"]),
        ({DATE: "20260302"}, ["AT-11", "AT-12"]),
        ({DATE: "20260302-20260303"}, ["AT-11", "AT-12", "LATER"]),
        ({DATE: "-20260302"}, ["AT-11", "AT-12"]),
        ({DATE: "20260303-"}, ["LATER"]),
        ({DATE: "19000101-99991231"}, ["AT-11", "AT-12", "LATER"]),
        ({DATE: "20260302", TIME: "1100"}, ["AT-11"]),
        ({DATE: "20260302-20260303", TIME: "113000-08"}, ["AT-12", "LATER"]),
        ({DATE: "20260302-20260303", TIME: "1130-0730"}, ["AT-12"]),
    ],
)
def test_steps_match_by_modality_and_start(port: int, placed, step, found: list[str]) -> None:
    placed("AT-11", scheduled_at=NOON - dt.timedelta(hours=1))
    placed("AT-12", scheduled_at=NOON)
    placed("LATER", scheduled_at=NOON + dt.timedelta(hours=20))
    assert numbers(port, query(step)) == found


def test_days_are_those_of_the_zone_of_the_query(port: int, placed) -> None:
    placed(scheduled_at=dt.datetime(2026, 3, 2, 22, tzinfo=dt.UTC))
    wanted = query({DATE: "20260303"})
    assert numbers(port, wanted) == []
    wanted.TimezoneOffsetFromUTC = "+0700"
    ((item,), _) = ask(port, wanted)
    (step,) = item.ScheduledProcedureStepSequence
    assert step.ScheduledProcedureStepStartDate == "20260303"
    assert (step.ScheduledProcedureStepStartTime, item.TimezoneOffsetFromUTC) == ("050000", "+0700")
