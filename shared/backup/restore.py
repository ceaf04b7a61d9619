"""Restores a backup into an empty database and an empty bucket, and proves that all of it is there.

Objects come first, then the rows of all tables in one transaction: a restoration that is cut off
leaves a database without rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, MetaData, select, text

from shared import audit
from shared.audit.put_back import put_back_checkpoints
from shared.audit.seal import Sealer
from shared.backup.database import tables_of
from shared.backup.errors import (
    BackupDamagedError,
    NotEmptyError,
    RestoreFailedError,
    SchemaMismatchError,
)
from shared.backup.keep import damaged_files
from shared.backup.manifest import Manifest
from shared.backup.objects import put_back, read_list
from shared.backup.place import OBJECT_LIST, BackupPlace
from shared.backup.tables import hash_table, load_table, set_sequence, table_path
from shared.backup.take import Told
from shared.db.migrate import downgrade, is_known, revision_of, upgrade
from shared.db.session import create_sessions
from shared.storage import NamedObject, ObjectStore

_OPERATOR = "operator"
_TRIGGERS = text(
    "SELECT c.relname AS table, t.tgname AS name, t.tgenabled AS state FROM pg_trigger t "
    "JOIN pg_class c ON c.oid = t.tgrelid "
    "WHERE NOT t.tgisinternal AND c.relnamespace = current_schema()::regnamespace "
    "AND t.tgenabled <> 'D' ORDER BY 1, 2"
)
_ENABLE = {"O": "ENABLE", "A": "ENABLE ALWAYS", "R": "ENABLE REPLICA"}


def restore_backup(
    engine: Engine, storage: ObjectStore, place: BackupPlace, name: str | None, told: Told
) -> Manifest:
    """Restore a backup, bring its schema to that of this software, and verify all of it.

    Args:
        engine: An empty database, as `copying_engine` gives it, for the owner of its tables.
        storage: An object store with an empty bucket, or none; it should be patient.
        place: The folder of backups.
        name: The backup; the newest one unless it is named.
        told: Called after each table and each object.

    Returns:
        What was restored.

    Raises:
        NoBackupError: There is no such backup.
        BackupDamagedError: It is not what was written.
        SchemaMismatchError: It was made by newer software than this.
        NotEmptyError: Something is in the database or in the bucket.
        RestoreFailedError: What is there afterwards is not what the backup holds.
    """
    folder = place.folder(name)
    manifest = Manifest.read(folder)
    if not is_known(manifest.revision):
        raise SchemaMismatchError(f"The backup is at {manifest.revision}, which is newer.")
    if damaged := damaged_files(manifest, folder):
        raise BackupDamagedError(", ".join(path.name for path in damaged))
    storage.ensure_bucket()
    _check_empty(engine, storage)
    _put_objects(storage, place, folder, told)
    downgrade(engine, "base")
    upgrade(engine, manifest.revision)
    with engine.begin() as connection:
        _load(connection, manifest, folder, told)
    upgrade(engine)
    sessions = create_sessions(engine)
    put_back_checkpoints(sessions, storage)
    with sessions.begin() as session:
        audit.record(session, _OPERATOR, "backup.restored", backup=folder.name)
    # No relay runs, and until an event has its place the trail is not whole.
    Sealer(sessions).seal()
    return manifest


def _check_empty(engine: Engine, storage: ObjectStore) -> None:
    if found := next(iter(storage.list("", after="")), None):
        raise NotEmptyError(f"The bucket has {found.key}.")
    with engine.connect() as connection:
        tables = tables_of(connection).sorted_tables
        if tables and revision_of(connection) is None:
            raise NotEmptyError(f"The database has the table {tables[0].name}.")
        for table in tables:
            if connection.execute(select(table).limit(1)).first() is not None:
                raise NotEmptyError(f"The table {table.name} has rows.")


def _put_objects(storage: ObjectStore, place: BackupPlace, folder: Path, told: Told) -> None:
    def counted() -> Iterator[NamedObject]:
        for named in read_list(folder / OBJECT_LIST):
            yield named
            told("object")

    for wrong in put_back(storage, place, counted()):
        raise RestoreFailedError(f"The object {wrong.key} is not as it was.")


def _load(connection: Connection, manifest: Manifest, folder: Path, told: Told) -> None:
    """Fill all tables, and prove that each says what it said."""
    metadata = tables_of(connection)
    if metadata.tables.keys() != manifest.tables.keys():
        raise RestoreFailedError("The tables of that revision are others than those of the backup.")
    with _triggers_off(connection):
        _empty(connection, metadata)
        for table in metadata.sorted_tables:
            dump = manifest.tables[table.name]
            load_table(connection, table.name, dump, table_path(folder, table.name))
            if hash_table(connection, table, dump.columns) != dump:
                raise RestoreFailedError(f"The table {table.name} is not as it was.")
            told("table")
    for name, state in manifest.sequences.items():
        set_sequence(connection, name, state)


def _empty(connection: Connection, metadata: MetaData) -> None:
    """Remove what migrations have put into new tables: it is in the backup too."""
    for table in reversed(metadata.sorted_tables):
        connection.execute(table.delete())


@contextmanager
def _triggers_off(connection: Connection) -> Iterator[None]:
    """Load rows as they are: what triggers make of new rows was made of these long ago."""
    triggers = connection.execute(_TRIGGERS).all()
    for trigger in triggers:
        connection.execute(text(f'ALTER TABLE "{trigger.table}" DISABLE TRIGGER "{trigger.name}"'))
    yield
    for trigger in triggers:
        way = _ENABLE[trigger.state]
        connection.execute(text(f'ALTER TABLE "{trigger.table}" {way} TRIGGER "{trigger.name}"'))
