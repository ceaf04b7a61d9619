"""Runs PostgreSQL where the launcher is root: PostgreSQL itself refuses to be.

A user namespace of its own is tried first: within it, the process is an ordinary user, and outside
it still reaches folders that are closed to others, such as a checkout below /root. Where the
system does not allow that, as in many containers, the user `nobody` is taken. A folder may see
both, from one start to the next, so each start makes it belong to the user at hand.
"""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.local.errors import PrivilegeError
from shared.local.process import identity
from shared.parent import dying_with_parent

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
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            preexec_fn=dying_with_parent(signal.SIGKILL),
            **identity(self.user),
        )

    def own(self, folder: Path) -> None:
        """Make a folder unless it is there, and have it, with what is in it, be that user's."""
        folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() != 0:
            return
        owner = pwd.getpwnam(self.user) if self.user else pwd.getpwuid(0)
        for path in (folder, *folder.rglob("*")):
            # A link that the user put there must not give away what it leads to.
            os.chown(path, owner.pw_uid, owner.pw_gid, follow_symlinks=False)

    def suits(self, program: Path, folder: Path) -> bool:
        """Whether we can be that user, and the user can run the program and own the folder."""
        try:
            if self.run([str(program), "--version"]).returncode != 0:
                return False
            self.own(folder)
            return self.run(["test", "-w", str(folder)]).returncode == 0
        except (OSError, KeyError):
            return False


def choose_unprivileged(program: Path, folder: Path) -> Unprivileged:
    """Find how to run `program` on `folder` as an ordinary user, and make the folder that user's.

    Raises:
        PrivilegeError: We are root, and neither way works.
    """
    if os.geteuid() != 0:
        return Unprivileged()
    for way in (Unprivileged(prefix=_NAMESPACE), Unprivileged(user=_NOBODY)):
        if way.suits(program, folder):
            return way
    raise PrivilegeError(
        f"Start it as an ordinary user, or put the project where {_NOBODY!r} may read it: {folder}"
    )
