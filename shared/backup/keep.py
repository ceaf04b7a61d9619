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
    for path in (damaged := damaged_files(manifest, folder)):
        yield f"file {path.name}"
    listed = folder / OBJECT_LIST
    if listed not in damaged:
        for named in damaged_objects(place, read_list(listed)):
            yield f"object {named.sha256} of {named.key}"


def damaged_files(manifest: Manifest, folder: Path) -> list[Path]:
    """The files of a backup, without objects, that are not those that were written."""
    written = {table_path(folder, name): dump.sha256 for name, dump in manifest.tables.items()}
    written[folder / OBJECT_LIST] = manifest.objects.sha256
    return [path for path, sha256 in written.items() if not _is_whole(path, sha256)]


def _is_whole(path: Path, sha256: str) -> bool:
    try:
        with unpacked(path) as file:
            while file.read(_PIECE_BYTES):
                pass
            return file.sha256 == sha256
    except BackupDamagedError:
        return False


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
