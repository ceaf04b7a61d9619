"""What a version was trained by, out of its card, and which versions others may begin at."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from services.trainer.plan import Recipe, TrainingPlan
from shared.errors import BadRequestError
from shared.imaging.augment import Augmentation
from shared.models.registry import ModelVersion
from shared.trainings.request import check_base

ENSEMBLE = "ensemble"
"""The name of versions that are the mean of others, which nothing trained as a whole."""


def trained_on_validation(version: ModelVersion) -> bool:
    """Whether a version's training saw the validation part; cards of old say nothing of it."""
    return bool(_described_plan(version).get("with_validation", False))


def require_base(base: ModelVersion, plans: Iterable[TrainingPlan]) -> None:
    """Refuse a base that is of another architecture, or that makes a sibling know too much.

    Raises:
        BaseMismatchError: It is an ensemble, or of another architecture than a plan.
        BadRequestError: The validation part, which chooses and calibrates runs, has trained it.
    """
    for plan in plans:
        check_base(base, plan.architecture)
    if trained_on_validation(base):
        raise BadRequestError(f"{base} was trained on the validation part, which is to calibrate.")


def plan_of(version: ModelVersion) -> TrainingPlan:
    """The plan that a version was trained by, out of its card.

    The service's trainings note their base beside the plan.
    """
    base = version.card["training"].get("base")
    described = {"base": base, **_described_plan(version)}
    described["recipe"] = Recipe(described["recipe"])
    described["augmentation"] = Augmentation(described["augmentation"])
    return TrainingPlan(**described)


def _described_plan(version: ModelVersion) -> dict[str, Any]:
    plan: dict[str, Any] = version.card["training"]["plan"]
    return plan
