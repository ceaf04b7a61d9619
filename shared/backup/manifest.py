"""What a backup says of itself: enough to prove that all of it is there."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from shared.backup.errors import BackupDamagedError
from shared.backup.place import MANIFEST, write_last


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TableDump(_Frozen):
    """A table: its columns, the number of its rows, and the SHA-256 of what COPY gave of it."""

    columns: tuple[str, ...]
    rows: int
    sha256: str


class SequenceState(_Frozen):
    """The last value of a sequence, and whether it was given out."""

    last_value: int
    is_called: bool


class ObjectList(_Frozen):
    """The list of objects: how many, their bytes in all, the SHA-256 of the list unpacked."""

    count: int
    bytes: int
    sha256: str


class LostObject(_Frozen):
    """An object that a row names and the store does not give as it was."""

    key: str
    reason: Literal["missing", "damaged"]


class Manifest(_Frozen):
    """A whole backup; `taken_at` is the moment of its snapshot, by the database's clock."""

    format: Literal[1] = 1
    software: str
    revision: str
    taken_at: dt.datetime
    tables: dict[str, TableDump]
    sequences: dict[str, SequenceState]
    objects: ObjectList
    lost: tuple[LostObject, ...]

    @property
    def sha256(self) -> str:
        """Its own hash; written down elsewhere, it proves that nobody has changed the backup."""
        return hashlib.sha256(self._canonical().encode()).hexdigest()

    def write(self, folder: Path) -> None:
        """Make a folder a backup."""
        document = {"sha256": self.sha256, "manifest": json.loads(self._canonical())}
        write_last(folder / MANIFEST, json.dumps(document, indent=1))

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read what `write` has written.

        Raises:
            BackupDamagedError: It is not that, or of a newer release.
        """
        try:
            document = json.loads((folder / MANIFEST).read_text())
            found = cls.model_validate(document["manifest"])
        except (ValueError, KeyError, TypeError, ValidationError) as error:
            raise BackupDamagedError(f"The manifest of {folder.name} cannot be read.") from error
        if found.sha256 != document["sha256"]:
            raise BackupDamagedError(f"The manifest of {folder.name} was changed.")
        return found

    def _canonical(self) -> str:
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
