"""Locks the requirements by hash: `make lock`.

dev.txt is the union of all sets but the one of the measurements; the others are compiled under it,
so that every service runs the versions that were tested. No address of a package index is written.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
SETS = ("api", "worker", "explainer", "trainer", "local", "bench")
OPTIONS = (
    "--quiet",
    "--no-strip-extras",
    "--no-header",
    "--no-emit-index-url",
    "--no-emit-find-links",
    "--generate-hashes",
    "--python-version=3.11",
)


def compile_set(name: str, *constraints: str) -> None:
    """Compile one set to its lock file."""
    command = [sys.executable, "-m", "uv", "pip", "compile", *OPTIONS, *constraints]
    subprocess.run([*command, f"{name}.in", "-o", f"{name}.txt"], cwd=FOLDER, check=True)  # noqa: S603


if __name__ == "__main__":
    compile_set("dev")
    for name in SETS:
        compile_set(name, "--constraint=dev.txt")
