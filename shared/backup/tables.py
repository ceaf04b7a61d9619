"""Tables as files: what COPY gives of each, packed."""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from sqlalchemy import Connection, String, Table, text
from sqlalchemy.dialects.postgresql.base import PGDialect

from shared.backup.errors import BackupDamagedError
from shared.backup.manifest import SequenceState, TableDump
from shared.backup.place import written

_LEVEL = 1  # the fastest; a table of JSON is a tenth of its size all the same
_PIECE_BYTES = 1024**2
_quoted = PGDialect().identifier_preparer.quote  # type: ignore[no-untyped-call]


class HashingWriter(io.RawIOBase):
    """Passes bytes on, and hashes them."""

    def __init__(self, target: BinaryIO | None = None) -> None:
        self._target = target
        self._digest = hashlib.sha256()

    def writable(self) -> bool:
        """It is there to be written to."""
        return True

    def write(self, data: Any) -> int:
        """Take some bytes."""
        self._digest.update(data)
        if self._target is not None:
            self._target.write(data)
        return len(data)

    @property
    def sha256(self) -> str:
        """Of all that was written."""
        return self._digest.hexdigest()


class HashingReader(io.RawIOBase):
    """Gives what another file gives, and hashes it."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._digest = hashlib.sha256()

    def readable(self) -> bool:
        """It is there to be read from."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Give some bytes."""
        data = self._source.read(size)
        self._digest.update(data)
        return data

    @property
    def sha256(self) -> str:
        """Of all that was read."""
        return self._digest.hexdigest()


@contextmanager
def packed(path: Path) -> Iterator[HashingWriter]:
    """Write a gzip file; the hash is that of what is in it."""
    with written(path) as file, gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) as archive:
        yield HashingWriter(cast(BinaryIO, archive))


@contextmanager
def unpacked(path: Path) -> Iterator[HashingReader]:
    """Read a gzip file; the hash is that of what was in it.

    Raises:
        BackupDamagedError: It is cut off or damaged, or there is no such file.
    """
    try:
        with gzip.open(path, "rb") as archive:
            yield HashingReader(cast(BinaryIO, archive))
    except (EOFError, gzip.BadGzipFile, zlib.error, FileNotFoundError) as error:
        raise BackupDamagedError(f"{path.name} cannot be read.") from error


def table_path(folder: Path, name: str) -> Path:
    """The file of a table in the folder of a backup."""
    return folder / "tables" / f"{name}.gz"


def dump_table(connection: Connection, table: Table, path: Path) -> TableDump:
    """Write a table, in the order of its primary key."""
    with packed(path) as file:
        return _copy_out(connection, table, columns_of(table), file)


def hash_table(connection: Connection, table: Table, columns: tuple[str, ...]) -> TableDump:
    """What `dump_table` would say of a table, without writing it."""
    return _copy_out(connection, table, columns, HashingWriter())


def load_table(connection: Connection, table: str, dump: TableDump, path: Path) -> None:
    """Fill an empty table from its file.

    Raises:
        BackupDamagedError: The file is not the one that was written.
    """
    names = ", ".join(map(_quoted, dump.columns))
    with unpacked(path) as file, _cursor(connection) as cursor:
        cursor.copy_expert(f"COPY {_quoted(table)} ({names}) FROM STDIN", file, _PIECE_BYTES)
        if (cursor.rowcount, file.sha256) != (dump.rows, dump.sha256):
            raise BackupDamagedError(f"{path.name} is not the file that was written.")


def columns_of(table: Table) -> tuple[str, ...]:
    """What a table holds; what the database computes from that, it computes again."""
    return tuple(column.name for column in table.columns if column.computed is None)


def read_sequences(connection: Connection) -> dict[str, SequenceState]:
    """Where each sequence is. They are ahead of the snapshot, never behind it."""
    names = connection.scalars(
        text("SELECT sequencename FROM pg_sequences WHERE schemaname = current_schema()")
    ).all()
    return {
        name: SequenceState.model_validate(
            connection.execute(
                text(f"SELECT last_value, is_called FROM {_quoted(name)}")  # noqa: S608 - quoted
            )
            .one()
            ._asdict()
        )
        for name in sorted(names)
    }


def set_sequence(connection: Connection, name: str, state: SequenceState) -> None:
    """Have a sequence go on where it was."""
    connection.execute(
        text("SELECT setval(CAST(:name AS regclass), :last_value, :is_called)"),
        {"name": _quoted(name), **state.model_dump()},
    )


def _copy_out(
    connection: Connection, table: Table, columns: tuple[str, ...], file: HashingWriter
) -> TableDump:
    names = ", ".join(map(_quoted, columns))
    # By byte and not by locale, which another machine may have otherwise.
    order = ", ".join(
        _quoted(key.name) + (' COLLATE "C"' if isinstance(key.type, String) else "")
        for key in table.primary_key
    )
    query = f"SELECT {names} FROM {_quoted(table.name)} ORDER BY {order}"  # noqa: S608 - quoted
    with _cursor(connection) as cursor:
        cursor.copy_expert(f"COPY ({query}) TO STDOUT", file, _PIECE_BYTES)
        return TableDump(columns=columns, rows=cursor.rowcount, sha256=file.sha256)


def _cursor(connection: Connection) -> Any:
    driver: Any = connection.connection.driver_connection
    return driver.cursor()
