"""Runs PostgreSQL where the launcher is root: PostgreSQL itself refuses to be.

A user namespace of its own is tried first: within it, the process is an ordinary user, and outside
it still reaches folders that are closed to others, such as a checkout below /root. Where the
system does not allow that, as in many containers, the user `nobody` is taken.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.local.errors import PrivilegeError

_NAMESPACE = ("unshare", "-U", "--map-user=65534", "--map-group=65534")
_NOBODY = "nobody"


@dataclass(frozen=True)
class Unprivileged:
    """How to run a command as an ordinary user: a prefix of it, or a user to switch to."""

    prefix: tuple[str, ...] = ()
    user: str | None = None

    def run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, with its output captured."""
        return subprocess.run(  # noqa: S603 - our own command lines
            [*self.prefix, *command],
            user=self.user,
            extra_groups=[] if self.user else None,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
        )

    def own(self, folder: Path) -> None:
        """Make a folder, with what is in it, that user's."""
        folder.mkdir(parents=True, exist_ok=True)
        if self.user:
            for path in (folder, *folder.rglob("*")):
                shutil.chown(path, user=self.user)


def choose_unprivileged(program: Path, folder: Path) -> Unprivileged:
    """Find how to run `program` on `folder` as an ordinary user.

    Raises:
        PrivilegeError: We are root, and neither way works.
    """
    if os.geteuid() != 0:
        return Unprivileged()
    namespace = Unprivileged(prefix=_NAMESPACE)
    if shutil.which(_NAMESPACE[0]) and _works(namespace, program):
        return namespace
    nobody = Unprivileged(user=_NOBODY)
    nobody.own(folder)
    if _works(nobody, program) and nobody.run(["test", "-w", str(folder)]).returncode == 0:
        return nobody
    raise PrivilegeError(
        f"Start it as an ordinary user, or put the project where {_NOBODY!r} may read it: {folder}"
    )


def _works(way: Unprivileged, program: Path) -> bool:
    try:
        return way.run([str(program), "--version"]).returncode == 0
    except OSError:
        return False
