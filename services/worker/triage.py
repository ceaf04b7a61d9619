"""From a claim to its triage result: load, decode, mask, infer, decide."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import numpy as np
import PIL

from services.worker.batcher import Batcher
from services.worker.patience import Patience
from services.worker.runtime import Runtime
from services.worker.watchdog import Watchdog
from shared import __version__
from shared.clock import utc_now
from shared.decoding_places import decoding_places
from shared.imaging import Pixels
from shared.imaging.decode import decode_image, to_model_input
from shared.imaging.quality import LIMITS, Quality, measure_quality
from shared.jobs.claim import Claim
from shared.models.predictor import Predictor
from shared.storage import ObjectStore
from shared.telemetry.tracing import span
from shared.triage.policy import CURRENT_VERSION
from shared.triage.provenance import Provenance, digest, policy_sha256
from shared.triage.result import TriageResult, field_result, triage_result

_QUALITY_SHA256 = digest(asdict(LIMITS))


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
        policy_version: str = CURRENT_VERSION,
    ) -> None:
        """Put it together.

        Args:
            storage: Has the images.
            runtime: Has the models.
            batcher: Runs them.
            watchdog: Watches each piece of work.
            patience: For outages of the object store.
            max_pixels: Largest image that is decoded.
            policy_version: The policy that decides; another than today's for a replay alone.
        """
        self._storage = storage
        self._runtime = runtime
        self._batcher = batcher
        self._watchdog = watchdog
        self._patience = patience
        self._max_pixels = max_pixels
        self._policy_version = policy_version
        # A decoded image may be large, so that few are in memory at once.
        self._decoding_places = decoding_places(max_pixels)

    def __call__(self, held: Claim) -> TriageResult:
        """Make the result of a claimed job.

        Raises:
            PermanentError: The job cannot succeed.
            TransientError: Something that it needs is not there now.
        """
        seen = [self._look_at(held, index) for index in range(len(held.images))]
        timings: dict[str, float] = {}
        for one in seen:
            for stage, milliseconds in one.timings.items():
                timings[stage] = timings.get(stage, 0.0) + milliseconds
        images = np.stack([one.pixels for one in seen])
        with _timed(timings, "infer"):
            with self._watchdog.watch([held]):
                predictor = self._runtime.predictor(held.model_name, held.model_version)
            prediction = self._batcher.submit(held, predictor, images).result()
        prediction.check_numbers()
        fields = [
            field_result(
                index,
                prediction.evidence(index, one.quality),
                predictor.members,
                policy_version=self._policy_version,
            )
            for index, one in enumerate(seen)
        ]
        return triage_result(
            str(held.job_id),
            fields,
            predictor.references,
            created_at=utc_now(),
            timings_ms={stage: round(spent, 3) for stage, spent in timings.items()},
            provenance=self._provenance(predictor, seen),
        )

    def _provenance(self, predictor: Predictor, seen: Sequence[_Seen]) -> Provenance:
        """What makes the same result again, or tells why it is not the same."""
        return Provenance(
            software=__version__,
            computed_by=predictor.build,
            decoded_by=f"pillow {PIL.__version__}",
            settings_sha256=predictor.settings_sha256,
            policy_sha256=policy_sha256(self._policy_version),
            quality_sha256=_QUALITY_SHA256,
            inputs_sha256=[hashlib.sha256(one.pixels.tobytes()).hexdigest() for one in seen],
        )

    def _look_at(self, held: Claim, index: int) -> _Seen:
        """One image as the model sees it; no more than that is kept of it."""
        timings: dict[str, float] = {}
        key = held.images[index].object_key
        with _timed(timings, "load"):
            data = self._patience(lambda: self._storage.get(key))
        with _timed(timings, "decode"), self._decoding_places, self._watchdog.watch([held]):
            decoded = decode_image(io.BytesIO(data), max_pixels=self._max_pixels, reduced=True)
            pixels = to_model_input(decoded.image)
        with _timed(timings, "quality"), self._watchdog.watch([held]):
            quality = measure_quality(pixels)
        return _Seen(pixels, quality, timings)


@dataclass(frozen=True)
class _Seen:
    """An image as the model sees it, and the milliseconds that each stage took."""

    pixels: Pixels
    quality: Quality
    timings: dict[str, float]


@contextmanager
def _timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    """Note the milliseconds that a stage takes."""
    start = time.perf_counter()
    with span(stage):
        yield
    timings[stage] = (time.perf_counter() - start) * 1000
