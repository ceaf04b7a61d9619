"""The objects of a backup: named by rows, kept by their SHA-256, put back under their keys."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection

from shared.backup.errors import BackupDamagedError
from shared.backup.manifest import LostObject, ObjectList
from shared.backup.place import OBJECT_LIST, BackupPlace, written
from shared.backup.tables import HashingWriter, packed, unpacked
from shared.datasets.objects import named_objects as of_datasets
from shared.explanations.objects import named_objects as of_explanations
from shared.jobs.objects import named_objects as of_jobs
from shared.registry.objects import named_objects as of_versions
from shared.storage import NamedObject, ObjectMissingError, ObjectStore

OBJECTS_AT_ONCE = 4
"""Objects that are read or written at the same time, each by a connection of its own."""

_OF_DOMAINS = (of_jobs, of_explanations, of_datasets, of_versions)
_BATCH = 256
_T = TypeVar("_T")


def list_named(connection: Connection, path: Path) -> None:
    """Write down every object that the rows name, a line each."""
    streaming = connection.execution_options(stream_results=True)
    with packed(path) as file:
        for of_domain in _OF_DOMAINS:
            for named in of_domain(streaming):
                file.write(json.dumps(asdict(named)).encode() + b"\n")


def read_list(path: Path) -> Iterator[NamedObject]:
    """The objects of a list, one after the other."""
    with unpacked(path) as file:
        for line in _lines(file.read):
            yield NamedObject(**json.loads(line))


def keep_objects(
    storage: ObjectStore,
    place: BackupPlace,
    names: Path,
    folder: Path,
    advance: Callable[[], None],
) -> tuple[ObjectList, tuple[LostObject, ...]]:
    """Copy what the folder of backups lacks, and write the list of all.

    Args:
        storage: The object store.
        place: The folder of backups.
        names: The list of what rows name.
        folder: Where the list of what is kept belongs.
        advance: Called for each object.

    Returns:
        What the list holds, and what could not be kept.

    Raises:
        StorageUnavailableError: The store does not answer.
        OSError: The disk is full.
    """
    lost: list[LostObject] = []
    count = size = 0
    with packed(folder / OBJECT_LIST) as file:
        for kept in _at_once(lambda named: _keep(storage, place, named), read_list(names)):
            advance()
            if isinstance(kept, LostObject):
                lost.append(kept)
                continue
            file.write(json.dumps(asdict(kept)).encode() + b"\n")
            count, size = count + 1, size + (kept.bytes or 0)
    return ObjectList(count=count, bytes=size, sha256=file.sha256), tuple(lost)


def put_back(
    storage: ObjectStore, place: BackupPlace, objects: Iterable[NamedObject]
) -> Iterator[NamedObject]:
    """Store objects under their keys, and read each back; gives what is not there as it was.

    Raises:
        BackupDamagedError: A kept object is not the one that was written.
        StorageUnavailableError: The store does not answer.
    """

    def put(named: NamedObject) -> NamedObject | None:
        if not is_whole(place, named):
            raise BackupDamagedError(f"Object {named.sha256} of {named.key}.")
        with place.object_path(named.sha256).open("rb") as file:
            storage.put(named.key, file, named.bytes or 0, named.media_type)
        digest = hashlib.sha256()
        for piece in storage.get_stream(named.key):
            digest.update(piece)
        return None if digest.hexdigest() == named.sha256 else named

    return (wrong for wrong in _at_once(put, objects) if wrong is not None)


def is_whole(place: BackupPlace, named: NamedObject) -> bool:
    """Whether the folder of backups has an object, as it was."""
    try:
        with place.object_path(named.sha256).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == named.sha256
    except FileNotFoundError:
        return False


def damaged_objects(place: BackupPlace, objects: Iterable[NamedObject]) -> Iterator[NamedObject]:
    """Those that the folder of backups lacks, or has otherwise than they were."""
    return (
        named
        for named, whole in _at_once(lambda one: (one, is_whole(place, one)), objects)
        if not whole
    )


def _keep(storage: ObjectStore, place: BackupPlace, named: NamedObject) -> NamedObject | LostObject:
    """Copy an object unless an earlier backup has it."""
    path = place.object_path(named.sha256)
    if not path.exists():
        try:
            _copy(storage, named, path)
        except ObjectMissingError:
            return LostObject(key=named.key, reason="missing")
        except _DifferentError:
            return LostObject(key=named.key, reason="damaged")
    return NamedObject(named.key, named.sha256, named.media_type, path.stat().st_size)


class _DifferentError(Exception):
    """An object is not the one that its row names."""


def _copy(storage: ObjectStore, named: NamedObject, path: Path) -> None:
    with written(path) as file:
        hashing = HashingWriter(file)
        for piece in storage.get_stream(named.key):
            hashing.write(piece)
        if hashing.sha256 != named.sha256:
            raise _DifferentError


def _at_once(do: Callable[[NamedObject], _T], objects: Iterable[NamedObject]) -> Iterator[_T]:
    """What comes of each object, in their order; a few are worked on at once, few wait."""
    iterator = iter(objects)
    with ThreadPoolExecutor(OBJECTS_AT_ONCE) as pool:
        while batch := list(itertools.islice(iterator, _BATCH)):
            yield from pool.map(do, batch)


def _lines(read: Callable[[int], bytes]) -> Iterator[bytes]:
    rest = b""
    while piece := read(1024**2):
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
    if rest:
        yield rest
