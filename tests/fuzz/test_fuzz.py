"""Each parser is fed for a while with what mutates from valid files; nothing ends its process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.child import GUIDED_BY
from tests.fuzz.run import fuzz
from tests.fuzz.targets import TARGETS, refuses_or_parses


@pytest.mark.parametrize("name", TARGETS)
def test_valid_files_are_parsed_or_refused(name: str) -> None:
    seeds = list(TARGETS[name].seeds())
    assert seeds
    for seed in seeds:
        refuses_or_parses(name, seed)


def test_every_target_is_guided() -> None:
    assert GUIDED_BY.keys() == TARGETS.keys()


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_nothing_that_was_tried_in_ten_seconds_is_a_finding(name: str, tmp_path: Path) -> None:
    fuzzed = fuzz(name, seconds=10, folder=tmp_path)
    assert not fuzzed.crashes, fuzzed.said[-3000:]
    assert fuzzed.runs > 0, fuzzed.said[-3000:]
