"""Whoever looks at the retention process sees it turn, also while it erases."""

from __future__ import annotations

import threading

import pytest

from shared.auth.tenants import DEFAULT_TENANT
from shared.db.models import ObjectRemovalRow
from shared.db.session import Sessions
from shared.retention import watch
from shared.retention.erasures import ErasureStatus, get_erasure, request_erasure
from shared.retention.objects import give_up
from shared.settings import Settings
from shared.storage.s3 import S3Store
from tests.integration.jobs import count
from tests.integration.retention.patients import a_patient

OBJECTS = 401


class _Stopping(S3Store):
    """A store whose first removal is when SIGTERM comes."""

    def __init__(self, settings: Settings, stop: threading.Event) -> None:
        super().__init__(settings, pool_size=1)
        self._stop = stop

    def delete(self, key: str) -> None:
        self._stop.set()
        super().delete(key)


@pytest.mark.timeout(60)
def test_an_erasure_that_removes_many_objects_beats_and_can_be_stopped(
    settings: Settings,
    sessions: Sessions,
    storage: S3Store,
    key_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else it would be killed as hanging, and its SIGTERM would wait for the last object."""
    beats: list[str] = []
    monkeypatch.setattr(watch, "beat", beats.append)
    patient = a_patient(sessions, storage, key_id)
    asked = request_erasure(
        sessions, patient.ref, tenant=DEFAULT_TENANT, reason="a_test", actor="key:k", secret=None
    )
    with sessions.begin() as session:
        give_up(session, [f"gone/{number}" for number in range(OBJECTS)], again_after=None)
    stop = threading.Event()
    watch.watch(settings, sessions, _Stopping(settings, stop), stop)
    assert beats == [watch.HEARTBEAT] * 2
    assert get_erasure(sessions, asked.id).status is ErasureStatus.DONE
    assert count(sessions, ObjectRemovalRow) > OBJECTS / 2
