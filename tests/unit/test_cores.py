"""A process counts the cores that it may use, and not those of its machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shared.cores import usable_cores


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("max 100000", 8),
        ("200000 100000", 2),
        ("250000 100000", 3),
        ("50000 100000", 1),
        ("6400000 100000", 8),
        ("", 8),
        ("no quota", 8),
    ],
)
def test_a_container_may_use_no_more_than_its_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    told = tmp_path / "cpu.max"
    told.write_text(quota)
    assert usable_cores(told) == cores


def test_a_machine_without_quotas_has_the_cores_that_the_process_runs_on(tmp_path: Path) -> None:
    assert usable_cores(tmp_path / "absent") == len(os.sched_getaffinity(0))
