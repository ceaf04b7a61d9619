"""What a worker counts and measures of its own work.

It stays in the process, so that a job costs no further statement; Prometheus adds the workers up
([ADR 50](../../docs/adr/0050-metrics.md)).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Counter, Gauge, Histogram

from services.worker.hands import Hands
from shared.jobs.claim import Claim
from shared.triage.result import TriageResult

_STAGE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

_BATCH_IMAGES = Histogram(
    "hemotriage_batch_images",
    "Images in one model call.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
)
_MODEL_CALL_SECONDS = Histogram(
    "hemotriage_model_call_seconds",
    "Duration of one model call, calibration included.",
    buckets=_STAGE_SECONDS,
)
_STAGES = Histogram(
    "hemotriage_job_stage_seconds",
    "Time that a job spent in a stage; infer includes the wait for a batch.",
    ["stage"],
    buckets=_STAGE_SECONDS,
)
_RESULTS = Counter(
    "hemotriage_results",
    "Results that were written, each of one job.",
    ["model", "prediction", "urgency", "requires_review"],
)
_ATTEMPTS = Counter(
    "hemotriage_attempts",
    "Attempts that ended: with a result, lost to another worker, handed_back, or with an error.",
    ["ending"],
)
_IN_HAND = Gauge("hemotriage_jobs_in_hand", "Jobs that this worker has in its hands.")


def show_hands(hands: Hands) -> None:
    """Have the jobs in hand counted when somebody looks."""
    _IN_HAND.set_function(lambda: len(hands.claims()))


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Measure a stage of one job; one that raises is not counted."""
    start = time.perf_counter()
    yield
    _STAGES.labels(name).observe(time.perf_counter() - start)


def count_batch(images: int, *, seconds: float) -> None:
    """Count a model call that answered, with its images and its duration."""
    _BATCH_IMAGES.observe(images)
    _MODEL_CALL_SECONDS.observe(seconds)


def count_result(held: Claim, result: TriageResult, *, is_written: bool) -> None:
    """Count a result, and what its stages took by its own record: it may be of the isolated child.

    Args:
        held: The claim of its job.
        result: The result.
        is_written: Whether it counted; if not, another attempt has the job.
    """
    for name, milliseconds in result.timings_ms.items():
        _STAGES.labels(name).observe(milliseconds / 1000)
    _ATTEMPTS.labels("result" if is_written else "lost").inc()
    if is_written:
        model = f"{held.model_name}@{held.model_version}"
        review = str(result.requires_review).lower()
        _RESULTS.labels(model, result.prediction, result.urgency, review).inc()


def count_return(ending: str) -> None:
    """Count an attempt without a result, by the code of its error or as `handed_back`."""
    _ATTEMPTS.labels(ending).inc()
