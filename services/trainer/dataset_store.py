"""Images of data sets between the object store and folders."""

from __future__ import annotations

import csv
import hashlib
import io
import uuid
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from services.trainer.class_folders import SUFFIXES
from services.trainer.dataset import MANIFEST
from services.trainer.groups import write_whole
from shared.datasets.queries import get_record
from shared.db.session import Sessions
from shared.errors import DatasetError
from shared.file_lock import file_lock
from shared.storage import ObjectStore, training_image_key


class DatasetDamagedError(DatasetError):
    """An image in the object store is not the one of the data set."""

    code = "dataset_damaged"


def store_images(
    storage: ObjectStore,
    record: Mapping[str, Any],
    files: Mapping[str, Path],
    *,
    known: Collection[str],
) -> None:
    """Put the images of a version into the object store.

    Args:
        storage: The object store.
        record: The version's record.
        files: A file for each SHA-256.
        known: SHA-256 of images that are there already.

    Raises:
        StorageUnavailableError: The store does not answer.
    """
    for image in record["images"]:
        if image["sha256"] not in known:
            content = files[image["sha256"]].read_bytes()
            key = training_image_key(image["sha256"])
            storage.put(key, io.BytesIO(content), len(content), image["media_type"])


def fetch_dataset(
    storage: ObjectStore, sessions: Sessions, dataset_id: uuid.UUID, folder: Path
) -> Path:
    """Lay the images of a version into FOLDER/VERSION: class folders, and a manifest of groups.

    What is there is not fetched again, and what was cut off goes on. Any number of processes may
    ask for the same at once; one of them fetches.

    Returns:
        The folder, as `read_dataset` takes it.

    Raises:
        NotFoundError: There is no such data set.
        DatasetNotReadyError: It is no version.
        DatasetDamagedError: An object is not the image that the version has.
        ObjectMissingError: An image is gone.
        StorageUnavailableError: The store does not answer.
    """
    record = get_record(sessions, dataset_id)
    whole = folder / str(record["version"])
    folder.mkdir(parents=True, exist_ok=True)
    with file_lock(whole.with_suffix(".lock")):
        if not whole.is_dir():
            draft = whole.with_suffix(".draft")
            _fill(storage, record, draft)
            draft.rename(whole)
    return whole


def _fill(storage: ObjectStore, record: Mapping[str, Any], draft: Path) -> None:
    """Fetch what the draft lacks; each file appears in it when it is whole."""
    rows = io.StringIO()
    manifest = csv.writer(rows, lineterminator="\n")
    manifest.writerow(("file", "group"))
    for image in record["images"]:
        name = f"{image['label']}/{image['sha256']}{SUFFIXES[image['media_type']]}"
        manifest.writerow((name, image["group"]))
        path = draft / name
        if not path.exists():
            content = storage.get(training_image_key(image["sha256"]))
            if hashlib.sha256(content).hexdigest() != image["sha256"]:
                raise DatasetDamagedError(f"Image {image['sha256']}.")
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            part.write_bytes(content)
            part.rename(path)
    write_whole(draft / MANIFEST, rows.getvalue())
