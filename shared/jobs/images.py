"""Reads the bytes of a job's images."""

from __future__ import annotations

from shared.jobs.entities import JobImage
from shared.retention.removed import ImagePurgedError
from shared.storage import ObjectStore


def read_bytes(storage: ObjectStore, image: JobImage) -> bytes:
    """The bytes of an image, as they were posted.

    Raises:
        ImagePurgedError: The time that images are kept for was over.
        ObjectMissingError: The store has lost it.
        StorageUnavailableError: The store does not answer.
    """
    if image.purged_at is not None:
        raise ImagePurgedError(f"Image {image.index}, on {image.purged_at:%Y-%m-%d}.")
    return storage.get(image.object_key)
