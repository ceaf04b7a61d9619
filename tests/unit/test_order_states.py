"""What an order may say, and that enum and schema name the same states."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest

from shared.db import models
from shared.orders.entities import NewOrder, checked, checked_uid
from shared.orders.states import OrderFieldError, OrderState

ORDER = NewOrder("A-1", specimen_id="S-1", study_uid="1.2.840.1", placer="LIS|LAB")
NOON = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)


def test_the_states_are_those_of_the_schema() -> None:
    assert tuple(OrderState) == models.ORDER_STATES


def test_an_order_that_is_valid_stays_as_it_is() -> None:
    assert checked(ORDER) == ORDER


def test_space_around_a_text_is_not_part_of_it() -> None:
    assert checked(replace(ORDER, accession_number=" A-1 ")) == ORDER


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("accession_number", ""),
        ("accession_number", "A" * 129),
        ("specimen_id", "S\x00"),
        ("patient_ref", "a\nb"),
        ("placer", "\ud800"),
        ("study_uid", "1.2."),
        ("study_uid", "1" * 65),
        ("priority", "soon"),
        ("scheduled_at", NOON.replace(tzinfo=None)),
        ("scheduled_at", dt.datetime.max.replace(tzinfo=dt.timezone(-dt.timedelta(hours=1)))),
    ],
)
def test_what_is_no_valid_field_is_refused_by_its_name(field: str, value: object) -> None:
    with pytest.raises(OrderFieldError) as refused:
        checked(replace(ORDER, **{field: value}))
    assert refused.value.detail == field


def test_the_refusal_of_a_field_repeats_nothing_of_a_patient() -> None:
    with pytest.raises(OrderFieldError) as refused:
        checked(replace(ORDER, patient_ref="Doe\x1fJane"))
    assert "Doe" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "1..2", "1.2.x", "2.25." + "1" * 60])
def test_a_transaction_is_named_by_a_uid(text: str) -> None:
    with pytest.raises(OrderFieldError):
        checked_uid(text)
