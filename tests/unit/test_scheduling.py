"""What wakes waits for its turn, in all threads and in children, where the system allows it."""

from __future__ import annotations

import os
import subprocess
import sys
from unittest.mock import patch

import pytest

from shared.scheduling import let_others_finish

SCRIPT = """
import os, subprocess, sys, threading
from shared.scheduling import let_others_finish

asked = threading.Event()
found = []


def early():
    asked.wait()
    found.append(os.sched_getscheduler(0))


before = threading.Thread(target=early)
before.start()
let_others_finish()
asked.set()
before.join()
found.append(os.sched_getscheduler(0))
thread = threading.Thread(target=lambda: found.append(os.sched_getscheduler(0)))
thread.start()
thread.join()
child = [sys.executable, "-c", "import os; print(os.sched_getscheduler(0))"]
print(*found, subprocess.check_output(child, text=True))
"""

linux = pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="no such policy here")


@linux
def test_all_threads_and_children_are_included() -> None:
    policies = subprocess.check_output([sys.executable, "-c", SCRIPT], text=True)
    assert policies.split() == [str(os.SCHED_BATCH)] * 4


@linux
def test_a_system_that_forbids_it_is_left_as_it_is() -> None:
    before = os.sched_getscheduler(0)
    with patch("os.sched_setscheduler", side_effect=PermissionError) as asked:
        let_others_finish()
    asked.assert_called()
    assert os.sched_getscheduler(0) == before
