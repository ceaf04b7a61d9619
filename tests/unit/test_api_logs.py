"""Requests and the threads that decode for them log at once."""

from __future__ import annotations

import subprocess
import sys

from shared.settings import PROJECT_ROOT

LINES, THREADS, REQUESTS = 1_000, 3, 3

# As the server starts: patched, then imported.
PROGRAM = f"""
from services.api.patching import patch; patch()
import logging
import gevent
from services.api.server import configure_logs

configure_logs("INFO")
log = logging.getLogger("test")

def in_thread():
    for _ in range({LINES}):
        log.info("thread")

def in_request():
    for _ in range({LINES}):
        log.info("request")
        gevent.sleep(0)

pool = gevent.get_hub().threadpool
asked = [gevent.spawn(pool.apply, in_thread) for _ in range({THREADS})]
asked += [gevent.spawn(in_request) for _ in range({REQUESTS})]
gevent.joinall(asked, timeout=60)
print(sum(one.successful() for one in asked))
"""


def test_requests_and_threads_log_at_once_and_nobody_waits_for_ever() -> None:
    """With locks of gevent in the handlers, requests were not woken and the process stood still."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert int(done.stdout) == THREADS + REQUESTS
    assert done.stderr.count('"thread"') == THREADS * LINES
    assert done.stderr.count('"request"') == REQUESTS * LINES
