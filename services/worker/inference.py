"""One job from its claim to its result: load, decode, mask, infer, decide, commit."""

from __future__ import annotations

import io
import logging
import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from services.worker.batcher import Batcher
from services.worker.runtime import Runtime
from shared.clock import utc_now
from shared.db.session import Sessions
from shared.imaging import Pixels
from shared.imaging.decode import decode_image, to_model_input
from shared.jobs.claim import Claim, claim
from shared.jobs.complete import complete, give_up
from shared.settings import Settings
from shared.storage import ObjectStore
from shared.triage.result import TriageResult, field_result, triage_result

_log = logging.getLogger(__name__)


class JobRunner:
    """Runs jobs; safe to share between threads."""

    def __init__(
        self,
        settings: Settings,
        sessions: Sessions,
        storage: ObjectStore,
        runtime: Runtime,
        batcher: Batcher,
    ) -> None:
        self._settings = settings
        self._sessions = sessions
        self._storage = storage
        self._runtime = runtime
        self._batcher = batcher
        # A decoded image may be large, so that few are in memory at once.
        self._decoding_places = threading.BoundedSemaphore(os.cpu_count() or 1)

    def run(self, job_id: uuid.UUID, *, worker: str) -> None:
        """Run one queued job to its result. Safe to call any number of times for one job."""
        lease = self._settings.lease_seconds
        held = claim(self._sessions, job_id, worker=worker, lease_seconds=lease)
        if held is None:
            return
        try:
            result = self._triage(held)
        except Exception as error:  # the job must end or go back, whatever was raised
            _log.warning(
                "attempt failed",
                extra={"job_id": str(job_id), "attempt": held.attempt},
                exc_info=error,
            )
            limit = self._settings.max_attempts
            give_up(self._sessions, held, error, max_attempts=limit)
            return
        complete(self._sessions, held, result)

    def _triage(self, held: Claim) -> TriageResult:
        timings: dict[str, float] = {}
        images = np.stack([self._model_input(image.object_key, timings) for image in held.images])
        with _timed(timings, "infer"):
            predictor = self._runtime.predictor(held.model_name, held.model_version)
            prediction = self._batcher.submit(predictor, images).result()
        fields = [
            field_result(index, raw, calibrated)
            for index, (raw, calibrated) in enumerate(
                zip(prediction.raw, prediction.calibrated, strict=True)
            )
        ]
        return triage_result(
            str(held.job_id),
            fields,
            [predictor.reference],
            created_at=utc_now(),
            timings_ms=timings,
        )

    def _model_input(self, key: str, timings: dict[str, float]) -> Pixels:
        """One image as the model sees it; no more than that is kept of it."""
        with _timed(timings, "load"):
            data = self._storage.get(key)
        with _timed(timings, "decode"), self._decoding_places:
            image, _ = decode_image(io.BytesIO(data), max_pixels=self._settings.max_pixels)
            return to_model_input(image)


@contextmanager
def _timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    """Add the milliseconds that a stage takes to what it took before."""
    start = time.perf_counter()
    yield
    milliseconds = (time.perf_counter() - start) * 1000
    timings[stage] = round(timings.get(stage, 0.0) + milliseconds, 3)
