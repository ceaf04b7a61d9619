"""The short form of a soak: all that happens in the long one, close together."""

from __future__ import annotations

import pytest

from tests.soak.report import report
from tests.soak.run import soak

pytestmark = [pytest.mark.exhaustive, pytest.mark.slow, pytest.mark.timeout(1800)]

_MINUTES = 2.5


def test_a_service_under_load_loses_nothing_doubles_nothing_and_complains_of_nothing() -> None:
    outcome = soak(_MINUTES)
    # Latency is for the long form: a rate that is half of what the machine did for seconds may be
    # all that it does a minute later.
    complaints = [one for one in outcome.complaints if not one.startswith("p95 of ")]
    assert complaints == [], report(outcome)
    assert outcome.verdict.accepted == outcome.verdict.finished > 0
    assert outcome.refused > 0
    assert outcome.webhooks > 0
