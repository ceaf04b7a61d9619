"""The object store: bytes under keys that are derived from ids."""

from __future__ import annotations

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


class ObjectStore(Protocol):
    """Keeps bytes. Every method may raise StorageUnavailableError."""

    def put(self, key: str, data: BinaryIO, length: int, media_type: str) -> None:
        """Store `length` bytes of `data` under a key; what was there is replaced."""

    def get(self, key: str) -> bytes:
        """Read an object; raises ObjectMissingError."""

    def delete(self, key: str) -> None:
        """Remove an object; a missing one is no error."""

    def ensure_bucket(self) -> None:
        """Make the bucket unless it is there."""

    def ping(self) -> None:
        """Return if the store answers and the bucket is there."""


def image_key(job_id: object, index: int) -> str:
    """The key of a job's image; made of ids alone, so that no name of a patient gets into it."""
    return f"jobs/{job_id}/images/{index}"
