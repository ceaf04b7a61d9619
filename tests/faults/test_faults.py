"""Every fault in its short form: whatever breaks, no accepted job is lost and none is doubled."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.scene import Fault
from tests.faults.stage import ALL_FAULTS, Stage
from tests.faults.world import SHORT


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """The service under test, shared by faults that need the same kind of it."""
    with Stage(SHORT) as running:
        yield running


_USUAL = {
    "api-killed-before-send",
    "postgres-killed",
    "valkey-emptied",
    "seaweedfs-cut",
    "nothing-more",
}
"""One of most kinds of fault; the others are marked exhaustive. A killed worker is in tests/e2e."""

_SHORT_FAULTS = [
    pytest.param(
        fault, id=fault.name, marks=[] if fault.name in _USUAL else [pytest.mark.exhaustive]
    )
    for fault in ALL_FAULTS
    if not fault.long
]


@pytest.mark.parametrize("fault", _SHORT_FAULTS)
def test_no_accepted_job_is_lost_or_doubled(stage: Stage, fault: Fault) -> None:
    row = stage.play(fault)
    if row.skipped is not None:
        pytest.skip(row.skipped)
    assert row.complaints == [], row
    assert (row.lost, row.doubled) == (0, 0), row
    assert row.accepted == row.finished > 0, row
