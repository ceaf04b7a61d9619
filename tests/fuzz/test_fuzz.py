"""Each parser is fed for a while with what mutates from valid files; nothing ends its process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.child import GUIDED_BY
from tests.fuzz.run import fuzz, with_its_own_peak
from tests.fuzz.targets import TARGETS, refuses_or_parses


@pytest.mark.parametrize("name", TARGETS)
def test_valid_files_are_parsed_or_refused(name: str) -> None:
    seeds = list(TARGETS[name].seeds())
    assert seeds
    for seed in seeds:
        refuses_or_parses(name, seed)


def test_every_target_is_guided() -> None:
    assert GUIDED_BY.keys() == TARGETS.keys()


def test_a_child_does_not_begin_with_the_memory_of_whoever_started_it() -> None:
    held = b"\1" * (256 * 1024**2)
    peak = "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)"
    command = with_its_own_peak([sys.executable, "-c", peak])
    said = subprocess.run(command, capture_output=True, check=True).stdout
    assert int(said) < len(held) / 2


def test_a_child_says_how_it_ended() -> None:
    command = with_its_own_peak([sys.executable, "-c", "import sys; sys.exit(71)"])
    assert subprocess.run(command, check=False).returncode == 71


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_nothing_that_was_tried_in_ten_seconds_is_a_finding(name: str, tmp_path: Path) -> None:
    fuzzed = fuzz(name, seconds=10, folder=tmp_path)
    assert not fuzzed.crashes, fuzzed.said[-3000:]
    assert fuzzed.runs > 0, fuzzed.said[-3000:]
