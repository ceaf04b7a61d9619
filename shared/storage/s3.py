"""The object store over S3, by the minio SDK; any S3 endpoint serves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import urllib3
from minio import Minio
from minio.error import MinioException, S3Error

from shared.settings import Settings
from shared.storage import (
    ObjectMissingError,
    ObjectTooLargeError,
    StorageUnavailableError,
    StoredObject,
)
from shared.telemetry.tracing import leaf

# A store answers an upload when it is on its disk, which may be busy.
_PATIENCE = 1.5
# A store that takes a request and does not answer is not asked a second time.
_USUAL_RETRIES = urllib3.Retry(total=1, read=0, backoff_factor=0.1, status_forcelist=[502, 503])
# Pauses of 0, 0.4, 0.8 .. 12.8 s: 25 s in all, longer than a store takes to come back.
_PATIENT_RETRIES = urllib3.Retry(total=7, backoff_factor=0.2, status_forcelist=[500, 502, 503])

# A part is in memory while it is sent. S3 takes 10,000 of them and none but the last below 5 MiB.
_PART_BYTES = 8 * 1024**2
_PIECE_BYTES = 1024**2


class S3Store:
    """One bucket of an S3 service; safe to share between threads."""

    def __init__(self, settings: Settings, *, pool_size: int, patient: bool = False) -> None:
        """Prepare a client; nothing is sent yet.

        Args:
            settings: Address, keys and bucket, and how long an answer may take.
            pool_size: Connections that are kept open.
            patient: Ask again while the store fails or is away, as a migration must.
        """
        self._bucket = settings.s3_bucket
        self._client = Minio(
            settings.s3_endpoint,
            access_key=settings.s3_access_key.get_secret_value(),
            secret_key=settings.s3_secret_key.get_secret_value(),
            secure=settings.s3_secure,
            # A fixed region spares the look-up that the SDK would make for each bucket.
            region="us-east-1",
            http_client=urllib3.PoolManager(
                maxsize=pool_size,
                cert_reqs="CERT_REQUIRED",
                ca_certs=settings.s3_ca_file and str(settings.s3_ca_file),
                timeout=urllib3.Timeout(
                    connect=settings.connect_timeout_seconds,
                    read=_PATIENCE * settings.answer_timeout_seconds,
                ),
                retries=_PATIENT_RETRIES if patient else _USUAL_RETRIES,
            ),
        )

    def put(self, key: str, data: BinaryIO, length: int, media_type: str) -> None:
        """See `ObjectStore.put`."""
        with _asked("put", key):
            self._client.put_object(self._bucket, key, data, length, content_type=media_type)

    def put_stream(self, key: str, data: BinaryIO, media_type: str) -> None:
        """See `ObjectStore.put_stream`."""
        with _asked("put_stream", key):
            self._client.put_object(
                self._bucket,
                key,
                data,
                length=-1,
                content_type=media_type,
                part_size=_PART_BYTES,
                num_parallel_uploads=1,
            )

    def get(self, key: str, *, most_bytes: int | None = None) -> bytes:
        """See `ObjectStore.get`."""
        with _asked("get", key):
            response = self._client.get_object(self._bucket, key)
            try:
                if most_bytes is None:
                    return bytes(response.data)
                data = b""
                # As it is stored: what is compressed would have no bound. To the end, where a
                # body that was cut off is told.
                while piece := response.read(most_bytes + 1 - len(data), decode_content=False):
                    data += piece
                    if len(data) > most_bytes:
                        raise ObjectTooLargeError(key)
                return data
            finally:
                response.close()
                response.release_conn()

    def get_stream(self, key: str) -> Iterator[bytes]:
        """See `ObjectStore.get_stream`."""
        with _asked("get_stream", key):
            response = self._client.get_object(self._bucket, key)
            try:
                yield from response.stream(_PIECE_BYTES)
            finally:
                response.close()
                response.release_conn()

    def delete(self, key: str) -> None:
        """See `ObjectStore.delete`."""
        with _asked("delete", key):
            self._client.remove_object(self._bucket, key)

    def list(self, prefix: str, *, after: str) -> Iterator[StoredObject]:
        """See `ObjectStore.list`."""
        with _asked("list", prefix):
            for found in self._client.list_objects(
                self._bucket, prefix=prefix, recursive=True, start_after=after
            ):
                if found.object_name and found.last_modified:
                    yield StoredObject(found.object_name, found.last_modified)

    def ensure_bucket(self) -> None:
        """See `ObjectStore.ensure_bucket`."""
        with _asked("ensure_bucket", self._bucket):
            try:
                if not self._client.bucket_exists(self._bucket):
                    self._client.make_bucket(self._bucket)
            except S3Error as error:  # a first try whose answer was lost made it
                if error.code != "BucketAlreadyOwnedByYou":
                    raise

    def ping(self) -> None:
        """See `ObjectStore.ping`."""
        with _asked("ping", self._bucket):
            if not self._client.bucket_exists(self._bucket):
                raise StorageUnavailableError(f"The bucket {self._bucket} is missing.")


@contextmanager
def _asked(operation: str, key: str) -> Iterator[None]:
    """Trace a request, and raise what the store's errors mean."""
    with leaf("object store") as traced, _translated(key):
        traced.note(hemotriage__operation=operation)
        yield


@contextmanager
def _translated(key: str) -> Iterator[None]:
    try:
        yield
    except S3Error as error:
        if error.code == "NoSuchKey":
            raise ObjectMissingError(key) from error
        raise StorageUnavailableError(error.code) from error
    except urllib3.exceptions.MaxRetryError as error:
        raise StorageUnavailableError(type(error.reason).__name__) from error
    except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
        raise StorageUnavailableError(type(error).__name__) from error
