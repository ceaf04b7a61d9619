"""Runs a past job again, by the worker's own code, and compares what comes of it."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, get_args

import click

from services.cli.jobs import CANNOT_EXIT_CODE
from services.worker.batcher import Batcher
from services.worker.patience import Patience
from services.worker.runtime import Runtime
from services.worker.triage import Triage
from services.worker.watchdog import Watchdog
from shared.db.session import Sessions
from shared.errors import NoResultError, PermanentError
from shared.jobs.claim import Claim
from shared.jobs.entities import Job
from shared.models.precision import FULL, Precision
from shared.registry.catalogue import Catalogue
from shared.retention.removed import ImagePurgedError
from shared.settings import EngineName, Settings
from shared.storage.s3 import S3Store
from shared.triage.compare import ABSENT, Difference, differences
from shared.triage.policy import POLICIES
from shared.triage.result import FieldResult, ModelReference, TriageResult

_OF_THE_RUN = ("/created_at", "/timings_ms")
_SURROUNDINGS = tuple(f"/provenance/{name}" for name in ("software", "computed_by", "decoded_by"))
_DECISIONS = ("prediction", "urgency", "within_hours", "requires_review", "reasons")
_ADDED_LATER = {
    name
    for model in (TriageResult, FieldResult, ModelReference)
    for name, described in model.model_fields.items()
    if not described.is_required()
}
_ASSUMED = (
    "The result is of an earlier release and does not say what it was made with. Assumed: today's "
    "software, engine, decoder, card of the model, policy table and limits of quality."
)


class ImageAlteredError(PermanentError):
    """An image in the object store is not the one that was posted."""

    code = "image_altered"


class ResultInvalidError(PermanentError):
    """The recorded document does not say what it was made with: it is none of ours."""

    code = "result_invalid"


class PolicyUnknownError(PermanentError):
    """The policy that decided the result is not in this release."""

    code = "policy_version_unknown"


class EngineUnknownError(PermanentError):
    """The engine or the precision of the result is not installed here."""

    code = "engine_unknown"


@dataclass(frozen=True)
class InFull:
    """What float32 says, where the result was made in a lower precision."""

    decisions: list[Difference]
    """Of labels, urgencies, deadlines, reviews and reasons."""
    largest: Difference | None
    """Of the numbers, the one that differs most; None where none does."""

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        decisions = [one.as_dict() for one in self.decisions]
        largest = None if self.largest is None else self.largest.as_dict()
        return {"decisions": decisions, "largest_difference": largest}


@dataclass(frozen=True)
class Replay:
    """A past result beside the one that was made of the same images now."""

    job: Job
    engine: str
    precision: str
    policy_version: str
    differences: list[Difference]
    surroundings: list[Difference] = field(default_factory=list)
    """In what the place differs where it ran: software, engine, processor, decoder."""
    assumed: list[str] = field(default_factory=list)
    """What had to be assumed, since the result does not say it."""
    in_full: InFull | None = None

    @property
    def outcome(self) -> str:
        """`identical`, `identical_but_for_rounding` or `differs`."""
        if not self.differences:
            return "identical"
        is_rounding = all(one.is_rounding for one in self.differences)
        return "identical_but_for_rounding" if is_rounding else "differs"

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "job_id": str(self.job.id),
            "outcome": self.outcome,
            "model": self.job.model,
            "engine": self.engine,
            "precision": self.precision,
            "policy_version": self.policy_version,
            "differences": [one.as_dict() for one in self.differences],
            "surroundings": [one.as_dict() for one in self.surroundings],
            "assumed": self.assumed,
            "in_f32": None if self.in_full is None else self.in_full.as_dict(),
        }


def replay(settings: Settings, sessions: Sessions, job: Job) -> Replay:
    """Run a job again as its result says that it was run; nothing is written.

    Raises:
        ImagePurgedError: Its images are not kept any more.
        NoResultError: It has none.
        ResultInvalidError: What is recorded is no result.
        PolicyUnknownError: The policy of its result is not in this release.
        EngineUnknownError: Nor is its engine or its precision.
        UnknownModelError: The model version is gone.
        ModelArtefactError: A file of it is missing or altered.
        PrecisionRefusedError: This machine lacks the precision, or its gate has not passed.
        ObjectMissingError: An image, or a file of the model, is not in the store.
        ImageAlteredError: An image is another one.
        TransientError: The object store does not answer.
    """
    recorded = job.result
    if job.images_purged_at is not None:
        raise ImagePurgedError(f"Job {job.id} cannot be replayed.")
    if recorded is None:
        raise NoResultError(f"Job {job.id} is {job.status}.")
    policy_version, engine, precision = _made_with(recorded)
    if policy_version not in POLICIES:
        raise PolicyUnknownError(f"{policy_version!r}; there are: {sorted(POLICIES)}.")
    _require(engine, precision)
    chosen = settings.model_copy(update={"engine": engine})
    now = _made_again(chosen, sessions, job, policy_version, precision)
    found, surroundings, assumed = compare(recorded, now)
    in_full = None
    if precision != FULL:
        in_full = _beside(recorded, _made_again(chosen, sessions, job, policy_version, FULL))
    return Replay(
        job, engine, precision, policy_version, found, surroundings, assumed, in_full=in_full
    )


def compare(
    recorded: dict[str, Any], now: dict[str, Any]
) -> tuple[list[Difference], list[Difference], list[str]]:
    """Compare a document with one that was made of the same images now.

    Returns:
        The differences; those of the place where it ran; what had to be assumed.
    """
    is_earlier = recorded.get("provenance") is None
    found = [
        one
        for one in differences(recorded, now)
        if not one.pointer.startswith(_OF_THE_RUN) and not (is_earlier and _was_added_later(one))
    ]
    surroundings = [one for one in found if one.pointer in _SURROUNDINGS]
    left = [one for one in found if one.pointer not in _SURROUNDINGS]
    return left, surroundings, [_ASSUMED] if is_earlier else []


def _was_added_later(one: Difference) -> bool:
    """Whether the release that wrote the result knew nothing of the field."""
    name = one.pointer.rpartition("/")[2]
    return one.pointer == "/provenance" or (one.recorded == ABSENT and name in _ADDED_LATER)


def _made_with(recorded: dict[str, Any]) -> tuple[str, str, str]:
    """Policy version, engine and precision, as every release has written them."""
    try:
        first = recorded["models"][0]
        return str(recorded["policy_version"]), str(first["engine"]), str(first["precision"])
    except (KeyError, IndexError, TypeError) as error:
        raise ResultInvalidError("It lacks policy, engine or precision.") from error


def _require(engine: str, precision: str) -> None:
    known = engine in get_args(EngineName) and precision in get_args(Precision)
    if not known or find_spec(engine) is None:
        raise EngineUnknownError(f"{engine}, {precision}.")


def _made_again(
    settings: Settings, sessions: Sessions, job: Job, policy_version: str, precision: str
) -> dict[str, Any]:
    """The document that the worker's code makes of the job."""
    chosen = settings.model_copy(update={"precision": precision})
    storage = _CheckedStore(settings, {image.object_key: image.sha256 for image in job.images})
    watchdog = Watchdog(limit_seconds=settings.work_limit_seconds, on_overdue=_leave)
    batcher = Batcher(watchdog, batch_size=settings.batch_size)
    triage = Triage(
        storage,
        Runtime(chosen, Catalogue(chosen, sessions, storage)),
        batcher,
        watchdog,
        Patience(seconds=0, stopping=threading.Event()),
        max_pixels=settings.max_pixels,
        policy_version=policy_version,
    )
    held = Claim(
        job_id=job.id,
        worker="replay",
        attempt=1,
        isolated=False,
        model_name=job.model_name,
        model_version=job.model_version,
        images=job.images,
    )
    try:
        return triage(held).model_dump(mode="json")
    finally:
        batcher.close()


def _beside(recorded: dict[str, Any], now: dict[str, Any]) -> InFull:
    found, _, _ = compare(recorded, now)
    apart = [one for one in found if one.by is not None]
    decisions = [one for one in found if set(one.pointer.split("/")) & set(_DECISIONS)]
    decisions = [one for one in decisions if "/opinions/" not in one.pointer]
    return InFull(decisions, max(apart, key=lambda one: one.by or 0.0, default=None))


class _CheckedStore(S3Store):
    """Gives an image only if it is the one that was posted."""

    def __init__(self, settings: Settings, posted: Mapping[str, str]) -> None:
        super().__init__(settings, pool_size=1)
        self._posted = posted

    def get(self, key: str, *, most_bytes: int | None = None) -> bytes:
        data = super().get(key, most_bytes=most_bytes)
        posted: str | None = self._posted.get(key)
        if posted is not None and hashlib.sha256(data).hexdigest() != posted:
            raise ImageAlteredError(key)
        return data


def _leave(_: object) -> None:
    """What hangs in native code ends with its process alone."""
    click.echo("hemotriage: attempt_hung: the work goes on beyond its limit", err=True)
    os._exit(CANNOT_EXIT_CODE)


def record_of(found: Replay) -> dict[str, Any]:
    """What the audit trail keeps of it."""
    return {
        "outcome": found.outcome,
        "differences": len(found.differences),
        "model": found.job.model,
        "precision": found.precision,
        "policy_version": found.policy_version,
    }
