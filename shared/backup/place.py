"""The folder that backups are kept in.

    DIR/objects/ab/abcd...          an object, by its SHA-256; backups share what is the same
    DIR/backups/20260101T023000Z/   a backup: manifest.json, objects.jsonl.gz, tables/NAME.gz

A file gets its name when it is whole and on the disk, and the manifest is written last: a backup
without one was cut off, and is none.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from shared.backup.errors import BackupFolderBusyError, NoBackupError

MANIFEST = "manifest.json"
OBJECT_LIST = "objects.jsonl.gz"
_NAME = "%Y%m%dT%H%M%S%fZ"
_TICK = dt.timedelta(microseconds=1)
_PART = ".part"
_SHA256 = re.compile(r"[0-9a-f]{64}")


class BackupPlace:
    """A folder of backups. What is in it names patients: its owner alone may read it."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._objects = self.root / "objects"
        self._backups = self.root / "backups"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Have the folder for one command, until the process ends at the latest.

        Raises:
            BackupFolderBusyError: Another command has it.
        """
        for folder in (self.root, self._objects, self._backups):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _private(self.root / "lock", os.O_CREAT | os.O_WRONLY) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise BackupFolderBusyError(str(self.root)) from error
            yield

    def names(self) -> list[str]:
        """The whole backups, the oldest first."""
        return sorted(path.parent.name for path in self._backups.glob(f"*/{MANIFEST}"))

    def folder(self, name: str | None = None) -> Path:
        """The folder of a whole backup; the newest one unless it is named.

        Raises:
            NoBackupError: There is none.
        """
        names = self.names()
        if not names or name not in (None, *names):
            raise NoBackupError(f"{self.root} has {', '.join(names) or 'none'}.")
        return self._backups / (name or names[-1])

    def begin(self, at: dt.datetime) -> Path:
        """Make the folder of a new backup; its name comes after all others, by any clock.

        Args:
            at: When it is made, in UTC.
        """
        before = [moment for name in self.names() if (moment := _moment(name)) is not None]
        at = max([at, *(moment + _TICK for moment in before)])
        folder = self._backups / at.strftime(_NAME)
        (folder / "tables").mkdir(mode=0o700, parents=True)
        folder.chmod(0o700)
        return folder

    def object_path(self, sha256: str) -> Path:
        """Where an object is, or will be.

        Raises:
            ValueError: It is no SHA-256, and might lead elsewhere.
        """
        if not _SHA256.fullmatch(sha256):
            raise ValueError(f"{sha256!r} is no SHA-256")
        return self._objects / sha256[:2] / sha256

    def objects(self) -> Iterator[Path]:
        """Every object of every backup."""
        return (path for path in self._objects.glob("*/*") if _SHA256.fullmatch(path.name))

    def forget(self, name: str) -> None:
        """Remove a backup, but for objects; one that is cut off here is no backup any more."""
        (self._backups / name / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(self._backups / name)

    def clear_remains(self) -> None:
        """Remove what was left by backups that were cut off, but for whole objects."""
        for folder in self._backups.glob("*"):
            if not (folder / MANIFEST).exists():
                shutil.rmtree(folder)
        for part in self.root.rglob(f"*{_PART}"):
            part.unlink()

    def sync(self, folder: Path) -> None:
        """Have the names of all files of a backup, and of objects, on the disk."""
        for path in (*self._objects.glob("*"), self._objects, folder / "tables", folder):
            _sync_folder(path)
        _sync_folder(self._backups)


def _moment(name: str) -> dt.datetime | None:
    """When a backup was made by its name; None: its owner gave it another one."""
    try:
        return dt.datetime.strptime(name, _NAME).replace(tzinfo=dt.UTC)
    except ValueError:
        return None


@contextmanager
def written(path: Path) -> Iterator[BinaryIO]:
    """Write a file that has its name only once it is whole and on the disk; nothing is left else.

    Yields:
        The file, for its owner alone.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}{_PART}")
    try:
        with _private(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_last(path: Path, text: str) -> None:
    """Write the file that makes all others count, and have its name on the disk."""
    with written(path) as file:
        file.write(text.encode())
    _sync_folder(path.parent)


def _private(path: Path, flags: int) -> BinaryIO:
    return os.fdopen(os.open(path, flags, 0o600), "wb")


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
