"""The checkpoints that a chain is compared with: those of the database and of the object store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import text

from shared.audit.checkpoint import (
    CHECKPOINT_TEXT,
    CHECKPOINTS_PREFIX,
    MOST_TAIL_BYTES,
    TAIL_KEY,
    Checkpoint,
    CheckpointError,
    checkpoint_of_row,
    place_of_key,
    read_checkpoint,
)
from shared.audit.links import ends
from shared.db.session import Sessions, execute
from shared.storage import ObjectMissingError, ObjectStore, ObjectTooLargeError

IN_DATABASE = "the database"
IN_STORE = "the object store"
IN_TAIL = f"the object {TAIL_KEY}"

_PAGE = 1_000

_CHECKPOINTS = text(f"""
    SELECT {CHECKPOINT_TEXT} FROM audit_checkpoints
    WHERE position > :after ORDER BY position LIMIT {_PAGE}
""")  # noqa: S608 - no parameter is in the text

_AT = text(f"SELECT {CHECKPOINT_TEXT} FROM audit_checkpoints WHERE position = :position")  # noqa: S608

_NEWEST = text(f"""
    SELECT {CHECKPOINT_TEXT} FROM audit_checkpoints ORDER BY position DESC LIMIT 1
""")  # noqa: S608

_HASH = text("SELECT hash FROM audit_seals WHERE position = :position")


@dataclass(frozen=True, slots=True)
class Anchor:
    """A position whose hash is known from a checkpoint.

    Attributes:
        where: Where the checkpoint is.
        checkpoint: All of it; None where only the name of its object was read.
    """

    position: int
    hash: bytes
    where: str
    checkpoint: Checkpoint | None = None


class Anchors:
    """Reads checkpoints where they are."""

    def __init__(self, sessions: Sessions, storage: ObjectStore | None) -> None:
        self._sessions, self._storage = sessions, storage

    @property
    def has_store(self) -> bool:
        """Whether there is an object store to compare with."""
        return self._storage is not None

    def checkpoints(self, first: int) -> Iterator[Checkpoint]:
        """The checkpoints of the database from a position on, in order."""
        after = first - 1
        while page := execute(self._sessions, _CHECKPOINTS, {"after": after}):
            for row in page:
                yield checkpoint_of_row(row)
            after = page[-1].position

    def of_database(self, first: int) -> Iterator[Anchor]:
        """The same as anchors."""
        for found in self.checkpoints(first):
            yield Anchor(found.position, found.hash, IN_DATABASE, found)

    def of_store(self, first: int) -> Iterator[Anchor]:
        """Those of the object store from a position on, in order; their names tell enough."""
        if self._storage is None:
            return
        after = f"{CHECKPOINTS_PREFIX}{max(first, 0):019d}"
        for found in self._storage.list(CHECKPOINTS_PREFIX, after=after):
            place = place_of_key(found.key)
            if place is not None:
                yield Anchor(*place, IN_STORE)

    def tail(self) -> list[Anchor]:
        """The newest state of the chain that the object store was told, if there is one."""
        found = self._storage and newest_told(self._storage)
        return [Anchor(found.position, found.hash, IN_TAIL, found)] if found else []

    def checkpoint_at(self, position: int) -> Checkpoint | None:
        """The one of the database at a position."""
        rows = execute(self._sessions, _AT, {"position": position})
        return checkpoint_of_row(rows[0]) if rows else None

    def is_in_database(self, position: int) -> bool:
        """Whether the database has one at a position."""
        return self.checkpoint_at(position) is not None

    def newest_position(self) -> int:
        """The position of the newest one of the database; 0 without one."""
        found = newest_checkpoint(self._sessions)
        return 0 if found is None else found.position

    def hash_at(self, position: int) -> bytes | None:
        """The hash of the chain at a position or before its first one; None: it has none."""
        rows = execute(self._sessions, _HASH, {"position": position})
        if rows:
            return bytes(rows[0].hash)
        first, _ = ends(self._sessions)
        kept = self.checkpoint_at(position) if position == first - 1 else None
        return None if kept is None else kept.hash


def newest_checkpoint(sessions: Sessions) -> Checkpoint | None:
    """The newest one of the database."""
    rows = execute(sessions, _NEWEST)
    return checkpoint_of_row(rows[0]) if rows else None


def newest_told(storage: ObjectStore) -> Checkpoint | None:
    """The newest state of the chain that the object store was told.

    Raises:
        CheckpointError: What is there is none, or too large for one.
        StorageUnavailableError: The store does not answer.
    """
    try:
        return read_checkpoint(storage.get(TAIL_KEY, most_bytes=MOST_TAIL_BYTES))
    except ObjectMissingError:
        return None
    except ObjectTooLargeError as error:
        raise CheckpointError from error
