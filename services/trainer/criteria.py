"""The criteria of change control: what was measured of two versions, against written limits.

Every comparison is one that fails where a figure is no number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from services.trainer.compare import mcnemar
from services.trainer.figures import Count, Criterion, Figures, criterion
from services.trainer.metrics import Labels
from shared.registry.policy import ChangeControlPolicy, PairedLimits, ProportionLimits
from shared.triage.labels import BENIGN_INDEX, LABELS

Right = NDArray[np.bool_]


def measured_criteria(
    labels: Labels, candidate: Figures, champion: Figures | None, policy: ChangeControlPolicy
) -> list[Criterion]:
    """All criteria that are measured, in the order of a report.

    Args:
        labels: True class indices, shape (n,), with every class among them.
        candidate: Of the version that is judged.
        champion: Of what it is compared with, on the same images; None: nothing.
        policy: The limits.
    """
    return [
        _sensitivity(labels, candidate, champion, policy.sensitivity),
        _paired(
            "accuracy",
            "Accuracy",
            lambda figures: figures.predicted == labels,
            candidate=candidate,
            champion=champion,
            limits=policy.accuracy,
        ),
        *_recalls(labels, candidate, champion, policy.recall),
        _calibration(candidate, champion, policy),
        _urgency(candidate, champion, policy),
        _review(candidate, champion, policy),
        _proportion(
            "robustness",
            "Mean accuracy on changed images",
            candidate.robust,
            None if champion is None else champion.robust,
            limits=policy.robustness,
        ),
        _speed(candidate, champion, policy),
        _size(candidate, champion, policy),
    ]


def _sensitivity(
    labels: Labels, candidate: Figures, champion: Figures | None, limits: PairedLimits
) -> Criterion:
    malignant = labels != BENIGN_INDEX
    subtypes = [index for index in range(len(LABELS)) if index != BENIGN_INDEX]

    def found(figures: Figures) -> Right:
        return np.isin(figures.predicted[malignant], subtypes)

    return _paired(
        "sensitivity", "Sensitivity", found, candidate=candidate, champion=champion, limits=limits
    )


def _recalls(
    labels: Labels, candidate: Figures, champion: Figures | None, limits: ProportionLimits
) -> list[Criterion]:
    def of_class(index: int, figures: Figures) -> Count:
        return _counted(figures.predicted[labels == index] == index)

    return [
        _proportion(
            f"recall.{label}",
            f"Recall of {label}",
            of_class(index, candidate),
            None if champion is None else of_class(index, champion),
            limits=limits,
        )
        for index, label in enumerate(LABELS)
    ]


def _paired(
    name: str,
    title: str,
    right: Callable[[Figures], Right],
    *,
    candidate: Figures,
    champion: Figures | None,
    limits: PairedLimits,
) -> Criterion:
    """A proportion, and McNemar's exact one-sided test of whether it is worse."""
    own, other = right(candidate), None if champion is None else right(champion)
    worse = {}
    if other is not None:
        p = _p_of_no_worse(own, other)
        told = f"it is worse by more than chance (McNemar, p = {p:.2g} below {limits.alpha:g})"
        worse[told] = p >= limits.alpha
    others = None if other is None else _counted(other)
    return _proportion(name, title, _counted(own), others, limits=limits, more=worse)


def _proportion(
    name: str,
    title: str,
    own: Count,
    other: Count | None,
    *,
    limits: ProportionLimits,
    more: Mapping[str, bool] | None = None,
) -> Criterion:
    """Floor, and largest loss against the champion."""
    found = f"{title} is {own}"
    objections = {f"it is below the floor of {limits.floor:.1%}": own.share >= limits.floor}
    if other is not None:
        found += f", the champion's is {other}"
        loss = other.points_above(own)
        allowed = limits.largest_loss_points
        told = f"it loses {loss:.1f} points to the champion, at most {allowed:g} are allowed"
        objections[told] = loss <= allowed
    return criterion(
        name,
        found,
        {**objections, **(more or {})},
        candidate=own,
        champion=other,
        limits=limits,
    )


def _p_of_no_worse(own: Right, other: Right) -> float:
    """How likely chance makes a candidate that errs as often look as bad, or worse.

    The one-sided form of `compare.mcnemar`; as there only images count that one of both gets right.
    """
    found = mcnemar(own, other)
    lost, won = found["only_b"], found["only_a"]
    if not lost + won:
        return 1.0
    return float(binomtest(lost, lost + won, alternative="greater").pvalue)


def _calibration(
    candidate: Figures, champion: Figures | None, policy: ChangeControlPolicy
) -> Criterion:
    limits = policy.calibration
    found = f"ECE after calibration is {candidate.ece:.3f}"
    objections = {f"it is above the ceiling of {limits.ceiling:g}": candidate.ece <= limits.ceiling}
    if champion is not None:
        found += f", the champion's is {champion.ece:.3f}"
        told = f"it is more than {limits.largest_rise:g} above the champion's"
        objections[told] = candidate.ece - champion.ece <= limits.largest_rise
    others = None if champion is None else champion.ece
    return criterion(
        "calibration", found, objections, candidate=candidate.ece, champion=others, limits=limits
    )


def _urgency(
    candidate: Figures, champion: Figures | None, policy: ChangeControlPolicy
) -> Criterion:
    limits, own = policy.urgency, candidate.routine
    found = f"{own} of the malignant fields would be called routine"
    if champion is None:
        told = f"that is above the ceiling of {limits.ceiling:.1%}"
        objections, other = {told: own.share <= limits.ceiling}, None
    else:
        other = champion.routine
        found += f", by the champion {other}"
        told = f"at most {limits.allowed_rise} more than by the champion are allowed"
        objections = {told: own.count <= other.count + limits.allowed_rise}
    return criterion("urgency", found, objections, candidate=own, champion=other, limits=limits)


def _review(candidate: Figures, champion: Figures | None, policy: ChangeControlPolicy) -> Criterion:
    limits, own = policy.review, candidate.flagged
    found, objections, other = f"{own} of the fields would be flagged for review", {}, None
    if champion is not None:
        other = champion.flagged
        found += f", by the champion {other}"
        rise, allowed = own.points_above(other), limits.largest_rise_points
        told = f"that is a rise by {rise:.1f} points, at most {allowed:g} are allowed"
        objections = {told: rise <= allowed}
    return criterion("review", found, objections, candidate=own, champion=other, limits=limits)


def _speed(candidate: Figures, champion: Figures | None, policy: ChangeControlPolicy) -> Criterion:
    limits, own = policy.speed, candidate.images_per_second
    found, objections, other = f"{own:.0f} images a second", {}, None
    if champion is not None:
        other = champion.images_per_second
        found += f", the champion {other:.0f}"
        ratio = own / other if other else math.nan
        told = f"that is {ratio:.2f} times as many, at least {limits.least_ratio:g} times are asked"
        objections = {told: ratio >= limits.least_ratio}
    return criterion("speed", found, objections, candidate=own, champion=other, limits=limits)


def _size(candidate: Figures, champion: Figures | None, policy: ChangeControlPolicy) -> Criterion:
    limits, own = policy.size, candidate.artefact_bytes
    told = f"at most {limits.largest_bytes / 1e6:.1f} MB are allowed"
    return criterion(
        "size",
        f"Its artefacts have {own / 1e6:.1f} MB",
        {told: own <= limits.largest_bytes},
        candidate=own,
        champion=None if champion is None else champion.artefact_bytes,
        limits=limits,
    )


def _counted(right: Right) -> Count:
    return Count(int(right.sum()), len(right))
