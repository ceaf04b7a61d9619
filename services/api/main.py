"""Starts the API: `python -m services.api.main`."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import warnings
from pathlib import Path

from services.api.patching import patch


def main() -> int:
    """Serve until SIGTERM; requests that run are finished first."""
    # Before anything that makes a socket or a lock is imported: they then switch between requests.
    patch()
    shared_metrics = Path(tempfile.mkdtemp(prefix="hemotriage-api-"))
    # prometheus_client looks for this when it is imported, and takes it from nowhere else.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(shared_metrics)
    # What a library tells its developers while it is imported is no line of a log.
    with warnings.catch_warnings(record=True):
        server = importlib.import_module("services.api.server")
    exit_code: int = server.serve(shared_metrics)
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
