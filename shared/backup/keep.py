"""Looks after the backups of a folder: verified, and removed when they are many."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from shared.backup.errors import BackupDamagedError
from shared.backup.manifest import Manifest
from shared.backup.objects import damaged_objects, read_list
from shared.backup.place import OBJECT_LIST, BackupPlace
from shared.backup.tables import table_path, unpacked

_PIECE_BYTES = 1024**2


def damages(place: BackupPlace, name: str | None = None) -> Iterator[str]:
    """Read all of a backup, and give what is not as it was written, a line each.

    Args:
        place: The folder of backups.
        name: The backup; the newest one unless it is named.

    Raises:
        NoBackupError: There is no such backup.
        BackupDamagedError: Its manifest tells nothing.
    """
    folder = place.folder(name)
    manifest = Manifest.read(folder)
    yield from damaged_tables(manifest, folder)
    try:
        listed = read_list(folder / OBJECT_LIST, manifest.objects)
        yield from (
            f"object {named.sha256} of {named.key}" for named in damaged_objects(place, listed)
        )
    except BackupDamagedError as error:
        yield str(error.detail)


def damaged_tables(manifest: Manifest, folder: Path) -> Iterator[str]:
    """The tables whose file is not the one that was written."""
    for table, dump in manifest.tables.items():
        try:
            with unpacked(table_path(folder, table)) as file:
                while file.read(_PIECE_BYTES):
                    pass
                whole = file.sha256 == dump.sha256
        except BackupDamagedError:
            whole = False
        if not whole:
            yield f"table {table}"


def keep_newest(place: BackupPlace, count: int) -> list[str]:
    """Remove all backups but the newest, then the objects that none has any more.

    About 100 bytes of memory are taken for each object that stays.

    Returns:
        The names of those that were removed.
    """
    old = place.names()[:-count]
    for name in old:
        place.forget(name)
    named = {
        bytes.fromhex(one.sha256)
        for name in place.names()
        for one in read_list(place.folder(name) / OBJECT_LIST)
    }
    for path in place.objects():
        if bytes.fromhex(path.name) not in named:
            path.unlink()
    return old
