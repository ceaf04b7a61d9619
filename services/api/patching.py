"""Has gevent take the place of what waits and locks, but not in logging.

What decodes does so in threads of gevent's pool, and logs there. Where such a thread and requests
contend for a lock of gevent, those who wait may never be woken (gevent 26.9): and as every request
is logged, the process would stand still.
"""

from __future__ import annotations

import logging

from gevent import monkey


def patch() -> None:
    """Patch the process; to be called before anything is imported that makes a socket or a lock."""
    monkey.patch_os()  # gevent's order: before threads
    monkey.patch_thread(logging=False)
    monkey.patch_all(thread=False)


def lock_logs_natively() -> None:
    """Give the root logger's handlers locks of the system; to be called once it has them.

    Whoever has one writes a line and does not wait, so that a request holds up the others for no
    longer than that.
    """
    for handler in logging.getLogger().handlers:
        handler.lock = monkey.get_original("_thread", "RLock")()
    # A thread's name is looked up under a lock of gevent's, and is in no line of ours.
    logging.logThreads = False
