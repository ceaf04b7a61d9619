"""A stream that a parser can use up, so that no hostile file keeps it reading for ever."""

from __future__ import annotations

import io
from typing import BinaryIO

from shared.errors import PermanentError

MAX_READS = 100_000
"""Pieces that a file is read in. Cameras, microscopes and PACS write files of a few thousand."""


class Frugal(io.RawIOBase):
    """Ends with an error once too much was read of it, or in too many pieces."""

    def __init__(
        self,
        stream: BinaryIO,
        *,
        most_bytes: int,
        too_long: PermanentError,
        too_many: PermanentError,
    ) -> None:
        """Begin with the whole budget.

        Args:
            stream: The file, seekable.
            most_bytes: Bytes that may be read in all, those that are read twice counted twice.
            too_long: Raised beyond them.
            too_many: Raised beyond `MAX_READS` pieces.
        """
        self._stream = stream
        self._bytes = most_bytes
        self._reads = MAX_READS
        self._too_long, self._too_many = too_long, too_many

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes; as many as are left of the budget where it is negative."""
        self._reads -= 1
        if self._reads < 0:
            raise self._too_many
        data = self._stream.read(size if 0 <= size <= self._bytes else self._bytes + 1)
        self._bytes -= len(data)
        if self._bytes < 0:
            raise self._too_long
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position."""
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        """The position."""
        return self._stream.tell()
