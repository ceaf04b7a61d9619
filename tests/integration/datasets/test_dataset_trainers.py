"""Trainers that import: they share, are killed, stop and wait; what they leave goes."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import select

from shared.clock import utc_now
from shared.datasets.claim import give_up
from shared.datasets.images import sweep_images
from shared.datasets.queries import get_dataset, get_record
from shared.datasets.states import DatasetStatus
from shared.datasets.uploads import sweep_uploads
from shared.db.models import AuditRow
from shared.errors import DatasetError
from shared.settings import Settings
from shared.storage import TRAINING_IMAGES_PREFIX, UPLOADS_PREFIX, training_image_key, upload_key
from shared.storage.s3 import S3Store
from tests.datasets import drawn, ended, importing, upload, zipped
from tests.integration.datasets.queued import taken
from tests.waiting import eventually


def test_two_trainers_share_the_imports(client, settings, sessions, storage, tmp_path) -> None:
    ids = [upload(client, drawn(start)).json["id"] for start in range(1, 60, 10)]
    with (
        importing(settings, sessions, storage, tmp_path / "a"),
        importing(settings, sessions, storage, tmp_path / "b"),
    ):
        ends = [ended(client, dataset_id) for dataset_id in ids]
    assert [(end["status"], end["attempts"]) for end in ends] == [("ready", 1)] * len(ids)
    with sessions() as session:
        wanted = select(AuditRow).where(AuditRow.action == "dataset.ready")
        assert len(session.scalars(wanted).all()) == len(ids)


_TRAINER = """
import sys, threading
from shared.db.session import create_database, create_sessions
from shared.settings import Settings
from shared.storage.s3 import S3Store
from services.trainer.imports import run_imports

settings = Settings()
sessions = create_sessions(create_database(settings, pool_size=4))
storage = S3Store(settings, pool_size=2)
storage.put = lambda *_: threading.Event().wait()  # it is killed in the middle
run_imports(settings, sessions, storage, threading.Event(), look_seconds=0.1)
"""


def test_an_import_that_is_killed_is_done_by_the_next_trainer(
    client, servers, sessions, storage, *, settings: Settings, work: Path
) -> None:
    dataset_id = upload(client, drawn()).json["id"]
    environment = {
        **servers.environment(),
        "HEMOTRIAGE_TRAINER_WORK": str(work),
        "HEMOTRIAGE_LEASE_SECONDS": "1",
    }
    trainer = subprocess.Popen([sys.executable, "-c", _TRAINER], env=environment)
    try:
        eventually(lambda: list((work / "imports").glob("*/images/*/*")))
    finally:
        trainer.send_signal(signal.SIGKILL)
        trainer.wait()
    assert client.get(f"/v1/datasets/{dataset_id}").json["status"] == "running"
    assert list((work / "imports").iterdir())
    with importing(settings, sessions, storage, work):
        end = ended(client, dataset_id)
    assert (end["status"], end["attempts"]) == ("ready", 2)
    assert end["statistics"]["images"] == len(drawn())
    assert list((work / "imports").iterdir()) == []


class SlowStore(S3Store):
    """The object store, which takes no image before it is let."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, pool_size=2)
        self.asked, self.let = threading.Event(), threading.Event()

    def put(self, key: str, data: BinaryIO, length: int, media_type: str) -> None:
        self.asked.set()
        assert self.let.wait(60)
        super().put(key, data, length, media_type)


def test_a_trainer_that_stops_hands_its_import_back(client, settings, sessions, work: Path) -> None:
    dataset_id = upload(client, drawn()).json["id"]
    slow = SlowStore(settings)
    with importing(settings, sessions, slow, work):
        assert slow.asked.wait(60)
    held = taken(sessions)
    assert (str(held.id), held.attempt, held.failures) == (dataset_id, 2, 0)
    slow.let.set()
    eventually(lambda: not list((work / "imports").iterdir()))
    assert get_dataset(sessions, held.id).status is DatasetStatus.RUNNING


def test_a_long_import_keeps_its_lease(client, settings, sessions, work: Path) -> None:
    dataset_id = upload(client, drawn()).json["id"]
    slow = SlowStore(settings)
    with importing(settings, sessions, slow, work, lease_seconds=4):
        assert slow.asked.wait(60)
        time.sleep(5)
        assert taken(sessions) is None
        slow.let.set()
        assert ended(client, dataset_id)["attempts"] == 1


def test_a_zip_that_changed_in_the_store_is_not_imported(
    client, settings, sessions, storage, work
) -> None:
    dataset_id = upload(client, drawn()).json["id"]
    other = zipped(drawn(11))
    storage.put_stream(upload_key(dataset_id), io.BytesIO(other), "application/zip")
    with importing(settings, sessions, storage, work):
        assert ended(client, dataset_id)["error"]["code"] == "dataset_damaged"


def test_zips_that_nothing_waits_for_are_removed(client, sessions, storage) -> None:
    waiting = upload(client, drawn()).json["id"]
    orphan = upload_key(uuid.uuid4())
    stranger = f"{UPLOADS_PREFIX}README"
    for key in (orphan, stranger):
        storage.put_stream(key, io.BytesIO(b"x"), "application/zip")
    assert sweep_uploads(sessions, storage, until=utc_now() - dt.timedelta(hours=1)) == 0
    assert sweep_uploads(sessions, storage, until=utc_now() + dt.timedelta(hours=1)) >= 1
    left = {found.key for found in storage.list(UPLOADS_PREFIX, after=UPLOADS_PREFIX)}
    assert {upload_key(waiting), stranger} <= left
    assert orphan not in left


def test_images_of_imports_that_failed_go_when_no_import_runs(
    client, settings, sessions, storage, work
) -> None:
    with importing(settings, sessions, storage, work):
        ready = ended(client, upload(client, drawn()).json["id"])
    named = training_image_key(get_record(sessions, uuid.UUID(ready["id"]))["images"][0]["sha256"])
    left = training_image_key(hashlib.sha256(b"of an import that failed").hexdigest())
    storage.put(left, io.BytesIO(b"x"), 1, "image/png")
    later = utc_now() + dt.timedelta(hours=1)

    def there() -> set[str]:
        prefix = TRAINING_IMAGES_PREFIX
        return {found.key for found in storage.list(prefix, after=prefix)}

    assert sweep_images(sessions, storage, until=utc_now() - dt.timedelta(hours=1)) == 0
    upload(client, drawn(50))
    running = taken(sessions)
    assert sweep_images(sessions, storage, until=later) == 0, "it may be storing that very image"
    assert {left, named} <= there()
    give_up(sessions, running, DatasetError("Nothing in it."), max_attempts=1)
    assert sweep_images(sessions, storage, until=later) >= 1
    assert named in there()
    assert left not in there()
