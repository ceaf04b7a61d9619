"""No thread of the API or of a worker takes the processor from another when it wakes."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from shared.local.service import LocalService


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="no such policy here")
@pytest.mark.parametrize("name", ["api", "worker", "worker-stat"])
def test_all_threads_wait_for_their_turn(service: LocalService, name: str) -> None:
    process = psutil.Process(service.applications[name].pid)
    everyone = [process, *process.children(recursive=True)]
    policies = set()
    for task in (task for one in everyone for task in Path(f"/proc/{one.pid}/task").iterdir()):
        with suppress(ProcessLookupError):  # it ended meanwhile
            policies.add(os.sched_getscheduler(int(task.name)))
    assert policies == {os.SCHED_BATCH}
