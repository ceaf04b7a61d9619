"""From a claim to its triage result: load, decode, mask, infer, decide."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from services.worker.batcher import Batcher
from services.worker.patience import Patience
from services.worker.runtime import Runtime
from services.worker.watchdog import Watchdog
from shared.clock import utc_now
from shared.imaging import Pixels
from shared.imaging.decode import decode_image, to_model_input
from shared.jobs.claim import Claim
from shared.storage import ObjectStore
from shared.triage.result import TriageResult, field_result, triage_result


class Triage:
    """Makes results; safe to share between threads."""

    def __init__(
        self,
        storage: ObjectStore,
        runtime: Runtime,
        batcher: Batcher,
        watchdog: Watchdog,
        patience: Patience,
        *,
        max_pixels: int,
    ) -> None:
        self._storage = storage
        self._runtime = runtime
        self._batcher = batcher
        self._watchdog = watchdog
        self._patience = patience
        self._max_pixels = max_pixels
        # A decoded image may be large, so that few are in memory at once.
        self._decoding_places = threading.BoundedSemaphore(os.cpu_count() or 1)

    def __call__(self, held: Claim) -> TriageResult:
        """Make the result of a claimed job.

        Raises:
            PermanentError: The job cannot succeed.
            TransientError: Something that it needs is not there now.
        """
        timings: dict[str, float] = {}
        images = np.stack(
            [self._model_input(held, index, timings) for index in range(len(held.images))]
        )
        with _timed(timings, "infer"):
            with self._watchdog.watch([held]):
                predictor = self._runtime.predictor(held.model_name, held.model_version)
            prediction = self._batcher.submit(held, predictor, images).result()
        fields = [
            field_result(index, raw, calibrated)
            for index, (raw, calibrated) in enumerate(
                zip(prediction.raw, prediction.calibrated, strict=True)
            )
        ]
        return triage_result(
            str(held.job_id),
            fields,
            predictor.references,
            created_at=utc_now(),
            timings_ms=timings,
        )

    def _model_input(self, held: Claim, index: int, timings: dict[str, float]) -> Pixels:
        """One image as the model sees it; no more than that is kept of it."""
        key = held.images[index].object_key
        with _timed(timings, "load"):
            data = self._patience(lambda: self._storage.get(key))
        with _timed(timings, "decode"), self._decoding_places, self._watchdog.watch([held]):
            decoded = decode_image(io.BytesIO(data), max_pixels=self._max_pixels, reduced=True)
            return to_model_input(decoded.image)


@contextmanager
def _timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    """Add the milliseconds that a stage takes to what it took before."""
    start = time.perf_counter()
    yield
    milliseconds = (time.perf_counter() - start) * 1000
    timings[stage] = round(timings.get(stage, 0.0) + milliseconds, 3)
