"""A process decodes as many images at once as its cores and its container's memory carry."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shared.decoding_places import decoding_places, usable_memory

MIB = 1024**2
MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.fixture(autouse=True)
def _many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.decoding_places.usable_cores", lambda: 64)


@pytest.mark.parametrize(
    ("mebibytes", "processes", "places"),
    [(2048, 1, 1), (4096, 1, 2), (4096, 2, 1), (16384, 2, 5), (64, 4, 1)],
)
def test_a_container_with_many_cores_decodes_what_its_memory_holds(
    tmp_path: Path, mebibytes: int, processes: int, places: int
) -> None:
    limit = tmp_path / "memory.max"
    limit.write_text(f"{mebibytes * MIB}\n")
    found = decoding_places(48 * MIB, processes=processes, limit=limit)
    assert taken(found) == places


def test_small_images_are_bounded_by_the_cores(tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    limit.write_text(f"{2048 * MIB}\n")
    assert taken(decoding_places(MIB, limit=limit)) == 64


@pytest.mark.parametrize("told", ["max\n", "", f"{2 * MACHINE}\n"])
def test_a_container_without_a_limit_has_its_machines_memory(tmp_path: Path, told: str) -> None:
    limit = tmp_path / "memory.max"
    limit.write_text(told)
    assert usable_memory(limit) == MACHINE
    assert usable_memory(tmp_path / "absent") == MACHINE


def taken(places) -> int:
    """How many places there are."""
    count = 0
    while places.acquire(blocking=False):
        count += 1
    return count
