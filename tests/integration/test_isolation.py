"""A suspect runs in a child process, and takes nothing but that with it."""

from __future__ import annotations

import hashlib
import io
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from services.worker.batcher import NotNowError
from services.worker.isolation import Isolation
from shared.errors import AttemptCrashedError, AttemptHungError, CorruptImageError
from shared.jobs.claim import Claim
from shared.jobs.entities import JobImage
from shared.jobs.ids import new_job_id
from shared.settings import Settings
from shared.storage import ObjectMissingError, image_key
from shared.storage.s3 import S3Store
from tests.factories import smear_bytes, truncated_jpeg


@pytest.fixture
def isolation(settings: Settings) -> Iterator[Isolation]:
    running = Isolation(settings)
    yield running
    running.close()


def claim_of(storage: S3Store, data: bytes | None) -> Claim:
    """A claim of a job with one image; without data, of an image that is not there."""
    job_id = new_job_id()
    key = image_key(job_id, 0)
    if data is not None:
        storage.put(key, io.BytesIO(data), len(data), "image/png")
    digest = hashlib.sha256(data or b"").hexdigest()
    image = JobImage(0, key, digest, "image/png", len(data or b""), 224, 224)
    return Claim(job_id, "w", 2, True, "cnn_custom", 1, (image,))


def child() -> psutil.Process:
    """The process that jobs run alone in."""
    found = [
        process
        for process in psutil.Process().children()
        if "spawn_main" in " ".join(process.cmdline())
    ]
    assert len(found) == 1
    return found[0]


def test_a_suspect_gets_its_result_and_errors_come_back_as_they_were(
    isolation: Isolation, storage: S3Store
) -> None:
    held = claim_of(storage, smear_bytes())
    assert isolation(held).job_id == str(held.job_id)
    with pytest.raises(CorruptImageError):
        isolation(claim_of(storage, truncated_jpeg()))
    missing = claim_of(storage, None)
    with pytest.raises(ObjectMissingError, match=str(missing.job_id)):
        isolation(missing)
    first = child().pid
    isolation(claim_of(storage, smear_bytes(2)))
    assert child().pid == first, "it is kept for the next"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_child_that_dies_is_told_by_its_signal_and_the_next_job_gets_another(
    isolation: Isolation, storage: S3Store, number: signal.Signals
) -> None:
    isolation(claim_of(storage, smear_bytes()))
    victim = child()
    victim.suspend()
    with ThreadPoolExecutor(1) as pool:
        attempt = pool.submit(isolation, claim_of(storage, smear_bytes()))
        with pytest.raises(NotNowError):
            isolation(claim_of(storage, smear_bytes()))
        victim.send_signal(number)
        victim.resume()
        with pytest.raises(AttemptCrashedError, match=number.name):
            attempt.result(60)
    assert isolation(claim_of(storage, smear_bytes())).images


@pytest.mark.exhaustive
def test_a_late_answer_is_never_taken_for_the_next_jobs(
    settings: Settings, storage: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.worker.isolation.PATIENCE_SECONDS", 0.0)
    isolation = Isolation(settings.model_copy(update={"work_limit_seconds": 5}))
    try:
        isolation(claim_of(storage, smear_bytes()))
        frozen = child()
        frozen.suspend()
        with pytest.raises(AttemptHungError):
            isolation(claim_of(storage, smear_bytes()))
        assert not frozen.is_running()
        held = claim_of(storage, smear_bytes(2))
        assert isolation(held).job_id == str(held.job_id)
    finally:
        isolation.close()


def test_a_child_that_was_killed_while_it_waited_is_no_jobs_fault(
    isolation: Isolation, storage: S3Store
) -> None:
    isolation(claim_of(storage, smear_bytes()))
    victim = child()
    victim.kill()
    deadline = time.monotonic() + 10
    while victim.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
        time.sleep(0.01)
    assert isolation(claim_of(storage, smear_bytes())).images


def test_closing_ends_the_child(isolation: Isolation, storage: S3Store) -> None:
    isolation(claim_of(storage, smear_bytes()))
    victim = child()
    closing = threading.Thread(target=isolation.close)
    closing.start()
    closing.join(20)
    assert not victim.is_running()
    assert uuid.UUID(isolation(claim_of(storage, smear_bytes())).job_id)
