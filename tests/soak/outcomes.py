"""What the tests of a soak's judges judge: an outcome, and the time in which an event is felt."""

from __future__ import annotations

from tests.faults.verdict import Verdict
from tests.soak.judging import Outcome
from tests.soak.logs import Window

HOUR = 3600.0
MEBIBYTE = 2.0**20
WINDOW = Window("api-restarted", 100.0, 120.0, lines=("api: .*closed",), answers=("^503$",))


def an_outcome(**values: object) -> Outcome:
    return Outcome(60, 10.0, 5.0, Verdict(accepted=3, finished=3), **values)
