"""Objects that rows have given up are removed, once nothing needs them any more."""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, NullPool, create_engine

from shared.auth.tenants import DEFAULT_TENANT
from shared.backup.database import removals_kept_out
from shared.db.models import ObjectRemovalRow
from shared.db.session import Sessions
from shared.jobs.queries import get_job
from shared.retention.erase import carry_out
from shared.retention.erasures import ErasureStatus, get_erasure, request_erasure
from shared.retention.objects import give_up, remove_due
from shared.settings import Settings
from shared.storage import ObjectMissingError, StoredObject, explanation_key, training_image_key
from shared.storage.s3 import S3Store
from tests.integration.jobs import count
from tests.integration.retention.conftest import NO_TIME, Erase
from tests.integration.retention.patients import PNG_SHA256, a_patient, objects_of


def test_what_a_backup_is_copying_is_removed_after_it(
    database: Engine, sessions: Sessions, storage: S3Store, key_id: str
) -> None:
    gone = a_patient(sessions, storage, key_id)
    asked = request_erasure(
        sessions, gone.ref, tenant=DEFAULT_TENANT, reason="a_test", actor="key:k", secret=None
    )
    # No pool, as a backup has none: its lock ends with its connection.
    backup = create_engine(database.url, poolclass=NullPool)
    with removals_kept_out(backup, patience_seconds=5):
        carry_out(sessions, storage, asked.id, again_after=NO_TIME)
        assert get_erasure(sessions, asked.id).status is ErasureStatus.DONE
        assert len(objects_of(storage, gone.job_id)) == 2
    remove_due(sessions, storage)
    assert objects_of(storage, gone.job_id) == []


def test_the_picture_of_what_was_explained_once_more_stays(
    sessions: Sessions, storage: S3Store, key_id: str
) -> None:
    """It was purged, and its removal waited for a backup meanwhile."""
    patient = a_patient(sessions, storage, key_id)
    kept = explanation_key(patient.job_id, 0, "gradcam", PNG_SHA256)
    other = explanation_key(patient.job_id, 0, "gradcam", "6" * 64)
    storage.put(other, io.BytesIO(b"png"), 3, "image/png")
    with sessions.begin() as session:
        give_up(session, [kept, other], again_after=None)
    remove_due(sessions, storage)
    assert count(sessions, ObjectRemovalRow) == 0
    assert kept in objects_of(storage, patient.job_id)
    assert other not in objects_of(storage, patient.job_id)


class _Overtaken(S3Store):
    """A store at which another process removes all that is due before this one removes any."""

    def __init__(self, settings: Settings, sessions: Sessions, storage: S3Store) -> None:
        super().__init__(settings, pool_size=1)
        self._others = sessions, storage

    def list(self, prefix: str, *, after: str) -> Iterator[StoredObject]:
        remove_due(*self._others)
        return super().list(prefix, after=after)


def test_of_two_processes_at_once_none_takes_the_second_look_from_the_other(
    settings: Settings, sessions: Sessions, storage: S3Store, key_id: str
) -> None:
    gone = a_patient(sessions, storage, key_id)
    asked = request_erasure(
        sessions, gone.ref, tenant=DEFAULT_TENANT, reason="a_test", actor="key:k", secret=None
    )
    overtaken = _Overtaken(settings, sessions, storage)
    carry_out(sessions, overtaken, asked.id, again_after=dt.timedelta(hours=1))
    assert objects_of(storage, gone.job_id) == []
    assert count(sessions, ObjectRemovalRow) > 0, "it is looked for once more in an hour"


def test_what_an_import_stored_goes_though_no_version_came_of_it(
    sessions: Sessions, storage: S3Store, key_id: str, erase: Erase
) -> None:
    gone = a_patient(sessions, storage, key_id)
    (image,) = get_job(sessions, gone.job_id, tenant=DEFAULT_TENANT).images
    stored = training_image_key(image.sha256)
    storage.put(stored, io.BytesIO(b"png"), 3, "image/png")
    erase(gone.ref)
    with pytest.raises(ObjectMissingError):
        storage.get(stored)
    storage.put(stored, io.BytesIO(b"late"), 4, "image/png")
    remove_due(sessions, storage)
    with pytest.raises(ObjectMissingError):
        storage.get(stored)
