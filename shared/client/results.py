"""The result of a job, as it is and in other forms, and what reviewers say of it."""

from __future__ import annotations

import datetime as dt

from shared.client.answers import Answer
from shared.client.transport import Transport, read
from shared.interop.forms import MEDIA_TYPES, ResultForm
from shared.triage.policy import Urgency


class ModelUsed(Answer):
    """Which model spoke, down to its bytes."""

    name: str
    version: int
    sha256: str
    engine: str
    precision: str
    label_set_coverage: float | None


class Opinion(Answer):
    """What one member of an ensemble says of one image."""

    model: str
    prediction: str
    confidence: float
    probabilities: dict[str, float]
    raw_probabilities: dict[str, float]


class SimilarCase(Answer):
    """A training image that the model takes for similar."""

    id: str
    label: str
    distance: float


class ImageResult(Answer):
    """What the model and the policy say of one image; `index` is its position, from 0."""

    index: int
    prediction: str
    display: str
    confidence: float
    p_malignant: float
    probabilities: dict[str, float]
    raw_probabilities: dict[str, float]
    urgency: Urgency
    recommended_action: str
    timeline: str
    requires_review: bool
    reasons: list[str]
    reason_texts: list[str]
    policy_version: str
    within_hours: float | None
    label_set: list[str] | None
    unlikeness: float | None
    opinions: list[Opinion]
    similar: list[SimilarCase]
    quality_version: str | None
    quality: dict[str, float]


class Distribution(Answer):
    """How the fields of one specimen are distributed."""

    count: int
    by_prediction: dict[str, int]
    by_urgency: dict[str, int]
    p_malignant: dict[str, float]


class Provenance(Answer):
    """What a result was made with: where it ran, and hashes of what decides."""

    software: str
    computed_by: str
    decoded_by: str
    settings_sha256: dict[str, str]
    policy_sha256: str
    quality_sha256: str
    inputs_sha256: list[str]


class Result(Answer):
    """The result of a job: that of its most urgent image, and every image's own.

    Probabilities are calibrated. `routine` must never be acted on without `requires_review`.
    """

    job_id: str
    prediction: str
    display: str
    confidence: float
    p_malignant: float
    probabilities: dict[str, float]
    urgency: Urgency
    recommended_action: str
    timeline: str
    requires_review: bool
    reasons: list[str]
    reason_texts: list[str]
    policy_version: str
    models: list[ModelUsed]
    images: list[ImageResult]
    within_hours: float | None
    fields: Distribution | None
    disclaimer: str
    limits: str
    created_at: dt.datetime
    timings_ms: dict[str, float]
    images_purged_at: dt.datetime | None
    provenance: Provenance | None


class Review(Answer):
    """A review as it was recorded, without its comment."""

    id: int
    job_id: str
    decision: str
    prediction: str
    label: str
    asks_second: bool
    at: dt.datetime
    case_state: str


class Reading(Answer):
    """The newest review of one reader, without its comment."""

    id: int
    reader: str
    decision: str
    label: str
    asks_second: bool
    at: dt.datetime


class ReviewList(Answer):
    """What readers have signed of a job; `label` is None until the case is closed."""

    job_id: str
    prediction: str
    case_state: str
    label: str | None
    reviews: list[Reading]


class Results(Transport):
    """Calls of `/v1/jobs/{id}/result`, `images`, `review` and `reviews`."""

    def result(self, job_id: str, *, form: ResultForm = ResultForm.JSON) -> bytes:
        """Read the result of a job, as the bytes of a document in this form.

        Raises:
            RefusedError: The job has no result (`no_result`), or cannot be written in this form.
        """
        headers = {"Accept": MEDIA_TYPES[form]}
        return self._send("GET", f"/v1/jobs/{job_id}/result", headers=headers).content

    def image(self, job_id: str, index: int = 0) -> bytes:
        """Read an image of a job, as the bytes that were posted."""
        return self._send("GET", f"/v1/jobs/{job_id}/images/{index}").content

    def review(
        self,
        job_id: str,
        decision: str,
        *,
        label: str | None = None,
        comment: str | None = None,
        asks_second: bool = False,
    ) -> Review:
        """Record what a reviewer says of a result; the key needs the scope `review`.

        Args:
            job_id: A job with a result.
            decision: `confirm` or `override`.
            label: What it is; needed to override.
            comment: Kept with the review; never a patient's name.
            asks_second: Whether a second reader is to sign before the case is closed.

        Raises:
            RefusedError: The job has no result, or both contradict each other.
        """
        body = {
            "decision": decision,
            "label": label,
            "comment": comment,
            "asks_second": asks_second,
        }
        return read(Review, self._send("POST", f"/v1/jobs/{job_id}/review", json=body))

    def reviews(self, job_id: str) -> ReviewList:
        """Read what readers have signed of a result.

        Raises:
            RefusedError: The job has no result.
        """
        return read(ReviewList, self._send("GET", f"/v1/jobs/{job_id}/reviews"))
