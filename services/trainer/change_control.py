"""Judges a version by the change-control policy: candidate and champion look at the same images.

Both run as a worker would run them, in the engine and the precision of the settings, and what they
say goes through the service's own decisions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from services.trainer.code_version import code_version
from services.trainer.criteria import measured_criteria
from services.trainer.evaluate import Part
from services.trainer.figures import Criterion, criterion
from services.trainer.measuring import CarryOn, Measured, measure_speeds, measure_version
from services.trainer.unseen import Exposure
from shared.clock import utc_now
from shared.datasets.states import DatasetVersion
from shared.models.predictor import Predictor
from shared.models.registry import ModelVersion
from shared.registry.policy import ChangeControlPolicy
from shared.registry.states import VersionIncompleteError
from shared.registry.versions import check_complete


@dataclass(frozen=True)
class Judged:
    """A version that is judged, or that another is compared with, ready to predict."""

    version: ModelVersion
    predictor: Predictor
    exposure: Exposure


def judge(
    candidate: Judged,
    champion: Judged | None,
    part: Part,
    policy: ChangeControlPolicy,
    *,
    test_set: DatasetVersion,
    carry_on: CarryOn = bool,
) -> dict[str, Any]:
    """Judge a version on a locked test set.

    Args:
        candidate: The version.
        champion: What it is compared with; None: nothing, and floors and ceilings alone decide.
        part: Every image of the test set.
        policy: The limits.
        test_set: The row of the test set, for the report.
        carry_on: Called between steps; what it raises ends it.

    Returns:
        Plain data: `passed`, if all `criteria` are; `reasons`, the details of those that are not;
        `figures` of both versions, with 95 % Wilson intervals; and what was judged by which policy,
        on what, and when.
    """
    own, other = _measure(candidate, champion, part, policy, carry_on)
    others = None if other is None else other.figures
    criteria = [
        _test_set(part, policy, test_set.version),
        _training(candidate, policy),
        _complete(candidate),
        _unseen(candidate, champion),
        *measured_criteria(part.labels, own.figures, others, policy),
    ]
    return {
        "policy": {"version": policy.version, "sha256": policy.sha256},
        "candidate": str(candidate.version),
        "champion": None if champion is None else str(champion.version),
        "test_set": {
            "dataset_id": str(test_set.id),
            "dataset_version": test_set.version,
            "images": len(part.samples),
            "counts": part.measured_on["counts"],
        },
        "passed": all(found.passed for found in criteria),
        "criteria": [found.as_dict() for found in criteria],
        "reasons": [found.detail for found in criteria if not found.passed],
        "figures": {"candidate": own.report, "champion": None if other is None else other.report},
        "measured_at": utc_now().isoformat(timespec="seconds"),
        "code": code_version(),
    }


def _measure(
    candidate: Judged,
    champion: Judged | None,
    part: Part,
    policy: ChangeControlPolicy,
    carry_on: CarryOn,
) -> tuple[Measured, Measured | None]:
    both = [candidate] if champion is None else [candidate, champion]
    predictors = [one.predictor for one in both]
    speeds = measure_speeds(predictors, part.images, policy.speed.alternations, carry_on)
    own, *other = (
        measure_version(
            one.version,
            one.predictor,
            part,
            images_per_second=speed,
            changed_images=policy.robustness.images,
            carry_on=carry_on,
        )
        for one, speed in zip(both, speeds, strict=True)
    )
    return own, other[0] if other else None


def _test_set(part: Part, policy: ChangeControlPolicy, version: str | None) -> Criterion:
    limits, counts = policy.test_set, part.measured_on["counts"]
    images, least = len(part.samples), min(counts.values())
    groups = len({sample.group for sample in part.samples})
    objections = {
        f"at least {limits.least_images} are asked": images >= limits.least_images,
        f"of each class at least {limits.least_per_class}": least >= limits.least_per_class,
        f"at least {limits.least_groups} groups": groups >= limits.least_groups,
        "the policy names others": not limits.versions or version in limits.versions,
    }
    found = f"The test set has {images} images in {groups} groups, {least} of its smallest class"
    return criterion("test_set", found, objections, candidate=images, limits=limits)


def _training(candidate: Judged, policy: ChangeControlPolicy) -> Criterion:
    limits = policy.test_set
    protocol = candidate.version.card.get("split", {}).get("protocol")
    accepted = ", ".join(limits.training_protocols)
    objections = {f"accepted: {accepted}": protocol in limits.training_protocols}
    found = f"The protocol of its own split is {protocol}"
    return criterion("training", found, objections, candidate=protocol, limits=limits)


def _complete(candidate: Judged) -> Criterion:
    """What must travel with a version, and that each of its networks agrees with Keras."""
    version = candidate.version
    try:
        check_complete(version.card)
    except VersionIncompleteError as error:
        return Criterion("complete", passed=False, detail=str(error.detail))
    for one in (version, *(member.version for member in version.members)):
        onnx = one.card["artefacts"].get("onnx")
        if onnx is not None and "parity" not in onnx:
            told = f"{one} has no verdict on whether its graph answers as Keras does."
            return Criterion("complete", passed=False, detail=told)
    return Criterion("complete", passed=True, detail="All that must travel with it is there.")


def _unseen(candidate: Judged, champion: Judged | None) -> Criterion:
    seen_by, unknown = candidate.exposure.seen_by, candidate.exposure.unknown
    if seen_by:
        detail = f"{', '.join(seen_by)} was trained on images that show what the test set shows."
    elif unknown:
        detail = f"Not known of {', '.join(unknown)}, whose data are not of this service."
    else:
        detail = "What it was trained on shows nothing that the test set shows."
    if champion is not None and champion.exposure.seen_by:
        detail += " The champion has seen it: its figures are too good."
    return Criterion("unseen", passed=not seen_by, detail=detail)
