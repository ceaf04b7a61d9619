"""Runs `hemotriage` as its user does: in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys


def command_line(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with variables besides those of this process."""
    return subprocess.run(
        [sys.executable, "-m", "services.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "250", **environment},
    )
