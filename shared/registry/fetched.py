"""The folder of registered versions' artefacts: fetched from the object store when first needed.

It is bounded: a process that follows every champion for years has fetched them all, and in a
container the folder is memory.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from shared.errors import ModelArtefactError
from shared.file_lock import file_lock
from shared.models.registry import ModelVersion
from shared.registry.states import VersionNotKeptError
from shared.storage import ObjectStore, artefact_key

MOST_VERSIONS = 6
"""As many are kept, those asked for last. What a process has loaded it does not ask for again, and
has in memory: without its files it is fetched once more by the next process."""

LOADING_SECONDS = 24 * 3600.0
"""What was asked for so lately may still be read by whoever asked: a training reads the version
that it goes on from before each of its runs."""

_LOCK = "fetched.lock"


class FetchedVersions:
    """The folder; several processes of a machine may share it."""

    def __init__(
        self, folder: Path, *, most: int = MOST_VERSIONS, loading_seconds: float = LOADING_SECONDS
    ) -> None:
        self._folder = folder
        self._most = most
        self._loading_seconds = loading_seconds

    def fetch(self, version: ModelVersion, storage: ObjectStore) -> None:
        """Have all artefacts of a version there; the versions asked for longest ago may go.

        Raises:
            ModelArtefactError: An artefact in the object store is not the one of the version.
            ObjectMissingError: An artefact is gone.
            TransientError: The object store does not answer, or there is no room.
        """
        self._mark_as_asked_for(version)
        missing = [one for one in version.card["artefacts"].values() if not _is_there(version, one)]
        for artefact in missing:
            _fetch(storage, version, artefact)
        if missing:
            self._let_go()

    def _mark_as_asked_for(self, version: ModelVersion) -> None:
        # A folder in which nothing can be written may have all that is needed.
        with suppress(OSError), self._alone():
            version.folder.mkdir(parents=True, exist_ok=True)
            os.utime(version.folder)

    def _let_go(self) -> None:
        with suppress(OSError), self._alone():
            asked = {
                folder: folder.stat().st_mtime
                for folder in self._folder.glob("*/*/")
                if any(folder.iterdir())
            }
            latest_first = sorted(asked, key=lambda folder: asked[folder], reverse=True)
            oldest = time.time() - self._loading_seconds
            for folder in latest_first[self._most :]:
                if asked[folder] < oldest:
                    shutil.rmtree(folder)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with file_lock(self._folder / _LOCK):
            yield


def _is_there(version: ModelVersion, artefact: dict[str, Any]) -> bool:
    """Whether it is whole: another installation's, or half of one after a power cut, is not."""
    path = version.folder / artefact["file"]
    return path.is_file() and _sha256(path.read_bytes()) == str(artefact["sha256"])


def _fetch(storage: ObjectStore, version: ModelVersion, artefact: dict[str, Any]) -> None:
    content = storage.get(artefact_key(artefact["sha256"]))
    if _sha256(content) != artefact["sha256"]:
        raise ModelArtefactError(f"{artefact['file']} of {version} is another one in the store.")
    try:
        _write_whole(version.folder / artefact["file"], content)
    except OSError as error:
        raise VersionNotKeptError from error


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file that appears when it is whole, whoever else writes it at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
