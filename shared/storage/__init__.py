"""The object store: bytes under keys that are derived from ids."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import BinaryIO, Protocol

from shared.errors import PermanentError, TransientError


class StorageUnavailableError(TransientError):
    """The object store does not answer."""

    code = "storage_unavailable"


class ObjectMissingError(PermanentError):
    """An object that should be in the store is not there."""

    code = "object_missing"
    http_status = HTTPStatus.NOT_FOUND


class ObjectTooLargeError(PermanentError):
    """An object is larger than what is read of it."""


@dataclass(frozen=True)
class StoredObject:
    """An object's key and the moment, by the store's clock, at which it was written."""

    key: str
    written_at: dt.datetime


@dataclass(frozen=True)
class NamedObject:
    """An object that a row of the database names, with its SHA-256; its size where that is told."""

    key: str
    sha256: str
    media_type: str
    bytes: int | None = None


class ObjectStore(Protocol):
    """Keeps bytes. Every method may raise StorageUnavailableError."""

    def put(self, key: str, data: BinaryIO, length: int, media_type: str) -> None:
        """Store `length` bytes of `data` under a key; what was there is replaced."""

    def put_stream(self, key: str, data: BinaryIO, media_type: str) -> None:
        """Store what `data` gives until its end, a part at a time; nothing is left if it raises."""

    def get(self, key: str, *, most_bytes: int | None = None) -> bytes:
        """Read an object, up to ObjectTooLargeError if bounded; raises ObjectMissingError."""

    def get_stream(self, key: str) -> Iterator[bytes]:
        """Read an object a piece at a time; raises ObjectMissingError."""

    def delete(self, key: str) -> None:
        """Remove an object; a missing one is no error."""

    def list(self, prefix: str, *, after: str) -> Iterator[StoredObject]:
        """The objects under a prefix, by key in ascending order, from behind the key `after`."""

    def ensure_bucket(self) -> None:
        """Make the bucket unless it is there."""

    def ping(self) -> None:
        """Return if the store answers and the bucket is there."""


JOBS_PREFIX = "jobs/"

UPLOADS_PREFIX = "datasets/uploads/"

TRAINING_IMAGES_PREFIX = "datasets/images/"

ERASURES_PREFIX = "erasures/"


def image_key(job_id: object, index: int) -> str:
    """The key of a job's image; made of ids alone, so that no name of a patient gets into it."""
    return f"{JOBS_PREFIX}{job_id}/images/{index}"


def explanation_key(job_id: object, index: int, method: str, png_sha256: str) -> str:
    """The key of the picture that explains a job's image by a method; another picture has another.

    Whoever lost his claim and stores a picture all the same changes none that is in use.
    """
    return f"{JOBS_PREFIX}{job_id}/explanations/{index}/{method}-{png_sha256[:16]}.png"


def job_of_key(key: str) -> uuid.UUID | None:
    """The job whose object has this key; None where it is no key of ours."""
    try:
        return uuid.UUID(key.removeprefix(JOBS_PREFIX).partition("/")[0])
    except ValueError:
        return None


def upload_key(dataset_id: object) -> str:
    """The key of the zip that a data set is imported from; it goes when the import has ended."""
    return f"{UPLOADS_PREFIX}{dataset_id}.zip"


def dataset_of_key(key: str) -> uuid.UUID | None:
    """The data set whose zip has this key; None where it is no key of ours."""
    try:
        return uuid.UUID(key.removeprefix(UPLOADS_PREFIX).removesuffix(".zip"))
    except ValueError:
        return None


def erasure_key(erasure_id: object) -> str:
    """The key of an erasure's entry in the ledger."""
    return f"{ERASURES_PREFIX}{erasure_id}.json"


def training_image_key(sha256: str) -> str:
    """The key of an image of data sets: one object, however many sets have it."""
    return f"{TRAINING_IMAGES_PREFIX}{sha256}"


def artefact_key(sha256: str) -> str:
    """The key of a model's artefact: one object, however many versions have it."""
    return f"models/{sha256}"
