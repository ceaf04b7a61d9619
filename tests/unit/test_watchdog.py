"""The watchdog ends what goes on for too long, and nothing else."""

import subprocess
import sys
import threading
import uuid

from services.worker.watchdog import Watchdog
from shared.jobs.claim import Claim

CLAIM = Claim(uuid.uuid4(), "w", 1, False, "m", 1, ())


def test_overdue_work_is_told_with_its_claims() -> None:
    told, seen = threading.Event(), []

    def on_overdue(claims) -> None:
        seen.append(list(claims))
        told.set()

    watchdog = Watchdog(limit_seconds=0.2, on_overdue=on_overdue)
    with watchdog.watch([CLAIM]):
        assert told.wait(20)
    assert seen == [[CLAIM]]


def test_work_that_ends_in_time_is_left_alone() -> None:
    told = threading.Event()
    watchdog = Watchdog(limit_seconds=0.5, on_overdue=lambda _: told.set())
    for _ in range(20):
        with watchdog.watch([CLAIM]):
            told.wait(0.05)
    assert not told.is_set()


def test_native_code_that_holds_the_interpreter_is_ended_too() -> None:
    program = (
        "import ctypes, time\n"
        "from services.worker.watchdog import start_last_resort\n"
        "start_last_resort(1)\n"
        "time.sleep(0.2)\n"
        "ctypes.PyDLL(None).sleep(60)\n"  # PyDLL keeps the lock through the call
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 1
    assert "Timeout" in done.stderr
