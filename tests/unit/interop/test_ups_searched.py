"""A search of workitems, and the times in it, are read as DICOM has them."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from shared.errors import BadRequestError
from shared.interop.dicom.ups.search import MAX_RESULTS, read_search
from shared.interop.dicom.ups.times import moment, span, written
from shared.orders.workitem_entities import (
    WorkitemState,
)
from tests.unit.interop.finished import AT
from tests.unit.interop.workitems import SETTINGS


def searched(*parameters: tuple[str, str]) -> Any:
    return read_search(parameters, SETTINGS)


def test_a_search_without_conditions_finds_all() -> None:
    search = searched(
        ("PatientID", ""), ("WorklistLabel", "*"), ("includefield", "all"), ("includefield", "")
    )
    assert search == searched()
    assert (search.limit, search.offset, search.warnings) == (MAX_RESULTS, 0, ())


def test_attributes_are_named_by_keyword_or_tag() -> None:
    by_tag = searched(("00741000", "IN PROGRESS"), ("0040A370.00080050", "A-1"))
    by_keyword = searched(
        ("ProcedureStepState", "IN PROGRESS"), ("ReferencedRequestSequence.AccessionNumber", "A-1")
    )
    assert by_tag == by_keyword
    assert by_tag.criteria.state is WorkitemState.IN_PROGRESS


@pytest.mark.parametrize(
    "parameters",
    [
        [("PatientName", "A*")],
        [("WorklistLabel", "x")],
        [("nothing", "1")],
        [("00000001", "1")],
        [("ReferencedRequestSequence.", "1")],
        [("ProcedureStepState", "DONE")],
        [("ScheduledProcedureStepPriority", "stat")],
        [("ScheduledProcedureStepStartDateTime", "-")],
        [("limit", "-1")],
        [("offset", "9" * 30)],
        [("fuzzymatching", "maybe")],
        [("includefield", "nothing")],
        [("PatientID", "a"), ("00100020", "b")],
        [("PatientID", "a\0")],
    ],
)
def test_a_search_that_cannot_be_made_is_refused(parameters) -> None:
    with pytest.raises(BadRequestError):
        searched(*parameters)


def at(*parts: int, hours: int = 0) -> dt.datetime:
    return dt.datetime(*parts, tzinfo=dt.timezone(dt.timedelta(hours=hours)))


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2026", at(2026, 1, 1), at(2027, 1, 1)),
        ("202602", at(2026, 2, 1), at(2026, 3, 1)),
        ("202612", at(2026, 12, 1), at(2027, 1, 1)),
        ("20260228", at(2026, 2, 28), at(2026, 3, 1)),
        ("2026010203", at(2026, 1, 2, 3), at(2026, 1, 2, 4)),
        ("20260102030405", at(2026, 1, 2, 3, 4, 5), at(2026, 1, 2, 3, 4, 6)),
        ("20260102030405.25", at(2026, 1, 2, 3, 4, 5, 250_000), at(2026, 1, 2, 3, 4, 5, 260_000)),
        ("20260102-0500", at(2026, 1, 2, hours=-5), at(2026, 1, 3, hours=-5)),
        ("20260102-", at(2026, 1, 2), None),
        ("-20260102", None, at(2026, 1, 3)),
        ("2026-2027", at(2026, 1, 1), at(2028, 1, 1)),
        ("20260101+0700-20260102-0500", at(2026, 1, 1, hours=7), at(2026, 1, 3, hours=-5)),
    ],
)
def test_a_time_that_is_cut_off_stands_for_all_that_it_leaves_open(text, first, last) -> None:
    assert span(text) == (first, last)


@pytest.mark.parametrize(
    "text", ["", "-", "--", "20261301", "20260230", "tomorrow", "9999", "0000", "20260102-2000x"]
)
def test_what_is_no_time_is_refused(text) -> None:
    with pytest.raises(BadRequestError):
        span(text)


def test_a_written_time_is_read_as_the_same_moment() -> None:
    assert moment(written(AT)) == AT
