"""Which code made a figure: the package's version and, in a repository, its commit."""

from __future__ import annotations

import shutil
import subprocess

from shared import __version__
from shared.settings import PROJECT_ROOT


def code_version() -> dict[str, str | None]:
    """The version of the running code.

    Returns:
        `package`, and `commit`: the commit's hash, with `-dirty` where a file differs from it or
        is not in it; None where the code lies in no repository of its own.
    """
    return {"package": __version__, "commit": _commit()}


def _commit() -> str | None:
    # A repository further up is somebody else's: one that holds the environment, for example.
    if not (PROJECT_ROOT / ".git").exists():
        return None
    head = _git("rev-parse", "HEAD")
    if head is None:
        return None
    return f"{head}-dirty" if _git("status", "--porcelain") else head


def _git(*arguments: str) -> str | None:
    git = shutil.which("git")
    if git is None:
        return None
    command = [git, "-C", str(PROJECT_ROOT), *arguments]
    done = subprocess.run(  # noqa: S603 - our own command line
        command, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else None
