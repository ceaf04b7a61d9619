"""What a training run is told: the recipe with its hyperparameters, as plain data for the card."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Literal

from shared.errors import BadRequestError
from shared.imaging.augment import Augmentation

Precision = Literal["float32", "mixed_bfloat16"]
Representation = Literal["original", "segmented"]


class Recipe(StrEnum):
    """How a model is trained."""

    STUDY = "study"  # the published protocol
    ROBUST = "robust"  # ours: fresh variants, stain and colour jitter, AdamW, cosine, no selection


@dataclass(frozen=True)
class TrainingPlan:
    """Hyperparameters of one training run."""

    architecture: str
    recipe: Recipe
    seed: int
    augmentation: Augmentation
    images_per_class: int
    """Images of each class in an epoch: the study's are drawn once, the robust ones anew."""
    learning_rate: float
    batch_size: int
    max_epochs: int
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    patience: int | None = None
    """Epochs without a better validation loss after which training stops; None: it never does."""
    lr_patience: int = 1
    precision: Precision = "float32"
    representation: Representation = "original"
    with_validation: bool = False
    """Train on the validation part too; a run without it then gives the calibration."""
    teacher: str | None = None
    """Model version whose probabilities are learned, `NAME@VERSION`."""
    base: str | None = None
    """Model version whose weights training starts from, `NAME@VERSION`; None: as built."""

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as a card holds it; without a base as it was before there were any."""
        values = asdict(self)
        if self.base is None:
            del values["base"]
        return values

    @property
    def digest(self) -> str:
        """A short hash over every value of the plan."""
        text = json.dumps(self.as_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]


_STUDY: dict[str, dict[str, Any]] = {
    "vgg16_finetune": {"learning_rate": 1e-5, "patience": 5},
}
_DRAWN_ONCE = {"augmentation": Augmentation.STUDY, "images_per_class": 3000}
"""Frozen blocks are computed once an image: for those who have them, variants are drawn once."""

_ROBUST: dict[str, dict[str, Any]] = {
    "cnn_custom": {"learning_rate": 2e-3, "max_epochs": 30, "images_per_class": 750},
    "vgg16_baseline": {
        **_DRAWN_ONCE,
        "learning_rate": 3e-3,
        "batch_size": 128,
        "max_epochs": 20,
        "label_smoothing": 0.0,
    },
    "vgg16_finetune": {**_DRAWN_ONCE, "learning_rate": 1e-4, "max_epochs": 3},
    "student": {"learning_rate": 1e-3},
}


def make_plan(architecture: str, recipe: Recipe, **overrides: Any) -> TrainingPlan:
    """The plan of an architecture by a recipe.

    Source of the study's values: Aria et al. 2022 (doi 10.1002/int.22753). Those of the robust
    recipe were chosen on validation parts.

    Raises:
        BadRequestError: The plan trains on the validation part, by which its recipe stops, or has
            a teacher, who can only be asked where variants are drawn anew.
    """
    if recipe is Recipe.STUDY:
        values: dict[str, Any] = {
            "augmentation": Augmentation.STUDY,
            "images_per_class": 3000,
            "learning_rate": 1e-3,
            "batch_size": 64,
            "max_epochs": 30,
            "patience": 3,
            **_STUDY.get(architecture, {}),
        }
    else:
        values = {
            "augmentation": Augmentation.ROBUST,
            "images_per_class": 520,
            "learning_rate": 5e-4,
            "batch_size": 32,
            "max_epochs": 8,
            "weight_decay": 1e-4,
            "label_smoothing": 0.05,
            **_ROBUST.get(architecture, {}),
        }
    given = {name: value for name, value in overrides.items() if value is not None}
    if "augmentation" in given:
        given["augmentation"] = Augmentation(given["augmentation"])
    plan = TrainingPlan(architecture=architecture, recipe=recipe, **{"seed": 1, **values, **given})
    if plan.with_validation and plan.patience is not None:
        raise BadRequestError(
            "The study's recipe stops by the validation part and cannot train on it; "
            "the robust recipe can."
        )
    if plan.teacher is not None and _draws_once(architecture, recipe):
        raise BadRequestError(
            f"{architecture} learns from no teacher by this recipe: its variants are drawn once."
        )
    return plan


def _draws_once(architecture: str, recipe: Recipe) -> bool:
    return recipe is Recipe.STUDY or _ROBUST.get(architecture, {}).items() >= _DRAWN_ONCE.items()
