"""How the kernel shares a processor among our processes."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_OUR_THREADS = Path("/proc/self/task")


def let_others_finish() -> None:
    """Have no thread of this process, when it wakes, take the processor from one that runs.

    Linux' policy for batches (sched(7), "SCHED_BATCH"): what wakes waits for its turn, which comes
    within milliseconds where all processors are busy, and at once where one is idle. Under load a
    job has some 140 threads wake, many of them while another of ours is about to finish.

    Threads that run already are included: importing numpy or OpenVINO may start some. What starts
    later, threads and child processes, takes it over. A system without such a policy, or one that
    forbids it, is left as it is.
    """
    if hasattr(os, "SCHED_BATCH"):
        for thread in _OUR_THREADS.iterdir():
            with suppress(OSError):  # forbidden, or it ended meanwhile
                os.sched_setscheduler(int(thread.name), os.SCHED_BATCH, os.sched_param(0))
