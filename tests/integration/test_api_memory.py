"""What the API's processes share stays shared."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

# What the server does before it forks, and a look in the place of its processes.
PROGRAM = """
import gc, pathlib, sys
from services.api.patching import patch
patch()
from services.api import server
server._Server.run = lambda _: print(gc.get_freeze_count(), len(gc.get_objects()))
server.serve(pathlib.Path(sys.argv[1]))
"""


def test_a_server_that_is_not_patched_says_so(servers, tmp_path: Path) -> None:
    """It would wait for one connection at a time, and answer nobody meanwhile."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("patch()", ""), tmp_path],
        env={**os.environ, **servers.environment()},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "services.api.patching.patch must be called first" in done.stderr


def test_no_collection_of_garbage_visits_what_is_there_before_the_fork(
    servers, tmp_path: Path
) -> None:
    """A visit writes into each object's head, and the page under it is one's own from then on."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path],
        env={**os.environ, **servers.environment()},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    frozen, visited = map(int, done.stdout.split())
    assert frozen > 100_000
    assert visited < frozen / 100
