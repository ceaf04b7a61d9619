"""What fails is counted by address and minute, and no more is remembered than must be."""

from __future__ import annotations

import ipaddress

import pytest

from shared.auth import attempts
from shared.auth.attempts import FailedAttempts, TooManyAttemptsError

ADDRESS = ipaddress.ip_address("192.0.2.1")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(attempts.time, "monotonic", lambda: now[0])
    return now


def test_a_minute_after_the_first_failure_an_address_may_try_again(clock) -> None:
    failed = FailedAttempts(2)
    for _ in range(2):
        failed.check(ADDRESS)
        failed.failed(ADDRESS)
    clock[0] += 45
    with pytest.raises(TooManyAttemptsError) as refused:
        failed.check(ADDRESS)
    assert refused.value.retry_after_seconds == 15
    clock[0] += 15
    failed.check(ADDRESS)
    failed.failed(ADDRESS)
    failed.check(ADDRESS)


def test_addresses_are_counted_apart_and_unknown_ones_together(clock) -> None:
    failed = FailedAttempts(1)
    failed.failed(None)
    failed.check(ADDRESS)
    with pytest.raises(TooManyAttemptsError):
        failed.check(None)


def test_the_addresses_that_are_remembered_are_bounded(clock, monkeypatch) -> None:
    monkeypatch.setattr(attempts, "_MOST_ADDRESSES", 2)
    failed = FailedAttempts(1)
    for last in (1, 2, 3):
        failed.failed(ipaddress.ip_address(f"192.0.2.{last}"))
    failed.check(ADDRESS)
    with pytest.raises(TooManyAttemptsError):
        failed.check(ipaddress.ip_address("192.0.2.3"))
