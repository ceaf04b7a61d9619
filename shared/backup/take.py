"""Makes a backup while the service goes on working.

Objects are stored before the rows that name them, and never change. So the database at one moment
and, copied afterwards, the objects that its rows name then, are the service at that moment.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from shared import __version__
from shared.backup.database import (
    moment,
    removals_kept_out,
    snapshot,
    tables_of,
)
from shared.backup.errors import SchemaMismatchError
from shared.backup.manifest import Manifest, TableDump
from shared.backup.objects import keep_objects, list_named
from shared.backup.place import BackupPlace
from shared.backup.tables import dump_table, read_sequences, table_path
from shared.clock import utc_now
from shared.db.migrate import alembic_config, revision_of
from shared.storage import ObjectStore

_NAMES = "names.jsonl.gz"
_PATIENCE_SECONDS = 60.0

Told = Callable[[str], None]
"""Is told what was done: `table`, `object`."""


def take_backup(engine: Engine, storage: ObjectStore, place: BackupPlace, told: Told) -> Manifest:
    """Make a backup, beside those that are there.

    Args:
        engine: The database, as `copying_engine` gives it.
        storage: The object store; it should be patient.
        place: The folder of backups, which the caller has alone.
        told: Called after each table and each object.

    Returns:
        What the backup holds; objects that were lost before it stand in `lost`.

    Raises:
        SchemaMismatchError: The database is of another release than this software.
        RemovalsGoOnError: Objects are being removed, for a minute now.
        StorageUnavailableError: The store does not answer.
        OSError: The disk is full; earlier backups are whole.
    """
    place.clear_remains()
    folder = place.begin(utc_now())
    try:
        manifest = _fill(engine, storage, place, folder, told)
        place.sync(folder)
    except BaseException:
        shutil.rmtree(folder)
        raise
    manifest.write(folder)
    return manifest


def _fill(
    engine: Engine, storage: ObjectStore, place: BackupPlace, folder: Path, told: Told
) -> Manifest:
    names = folder / _NAMES
    with removals_kept_out(engine, patience_seconds=_PATIENCE_SECONDS):
        with snapshot(engine) as connection:
            _check_revision(connection)
            taken_at = moment(connection)
            tables = _dump_tables(connection, folder, told)
            sequences = read_sequences(connection)
            list_named(connection, names)
        objects, lost = keep_objects(storage, place, names, folder, lambda: told("object"))
    names.unlink()
    return Manifest(
        software=__version__,
        revision=head_revision(),
        taken_at=taken_at,
        tables=tables,
        sequences=sequences,
        objects=objects,
        lost=lost,
    )


def head_revision() -> str:
    """The revision of the schema that this software works with."""
    head = ScriptDirectory.from_config(alembic_config()).get_current_head()
    if head is None:
        raise SchemaMismatchError("This software has no migrations.")
    return head


def _check_revision(connection: Connection) -> None:
    found, wanted = revision_of(connection), head_revision()
    if found != wanted:
        raise SchemaMismatchError(f"The database is at {found}, this software at {wanted}.")


def _dump_tables(connection: Connection, folder: Path, told: Told) -> dict[str, TableDump]:
    dumps = {}
    for table in tables_of(connection).sorted_tables:
        dumps[table.name] = dump_table(connection, table, table_path(folder, table.name))
        told("table")
    return dumps
