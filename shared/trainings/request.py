"""What a training run is asked for: checked before it is accepted.

The API has no TensorFlow, so the words of the trainer stand here once more; tests compare them.
"""

from __future__ import annotations

import uuid
from enum import StrEnum
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from shared.errors import PermanentError
from shared.models.registry import ModelVersion

Architecture = Literal[
    "cnn_custom",
    "densenet121",
    "efficientnet_lite0",
    "resnet50",
    "student",
    "vgg16_baseline",
    "vgg16_finetune",
    "vit_tiny",
]
ARCHITECTURES: tuple[str, ...] = get_args(Architecture)

SPLIT_SEED = 2022
"""Every run splits by this one, so that runs on one data set are measured on the same images."""

MAX_SEEDS = 10

_OF_STUDY = ("patience", "lr_patience")
_OF_ROBUST = ("weight_decay", "with_validation", "augmentation")

Seed = Annotated[int, Field(ge=0, lt=2**31)]


class BaseMismatchError(PermanentError):
    """The base version is of another architecture than the one to be trained."""

    code = "base_mismatch"


class TrainingProtocol(StrEnum):
    """How a data set is split. What is trained by the published protocol is never shipped."""

    GROUPED = "grouped"  # no group of overlapping fields is in two parts
    RANDOM = "random"  # by image; overlapping fields leak


class TrainingRecipe(StrEnum):
    """How a model is trained."""

    STUDY = "study"  # the published training
    ROBUST = "robust"  # ours, against stain, colour and light


class Overrides(BaseModel):
    """Fields of the plan that are to be other than the recipe's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    images_per_class: int | None = Field(None, ge=1, le=100_000)
    max_epochs: int | None = Field(None, ge=1, le=1000)
    learning_rate: float | None = Field(None, gt=0, le=1)
    batch_size: int | None = Field(None, ge=1, le=1024)
    label_smoothing: float | None = Field(None, ge=0, lt=1)
    patience: int | None = Field(None, ge=1, le=1000, description="Recipe `study` alone.")
    lr_patience: int | None = Field(None, ge=1, le=1000, description="Recipe `study` alone.")
    weight_decay: float | None = Field(None, ge=0, le=1, description="Recipe `robust` alone.")
    with_validation: bool | None = Field(
        None,
        description="Train on the validation part too; a run without it then gives the "
        "calibration. Recipe `robust` alone.",
    )
    augmentation: Literal["study", "turned", "robust"] | None = Field(
        None,
        description="Variants: as published, these at any quarter turn, or those against stain, "
        "colour and light. Recipe `robust` alone.",
    )
    precision: Literal["float32", "mixed_bfloat16"] | None = None
    representation: Literal["original", "segmented"] | None = None

    def check_recipe(self, recipe: str) -> None:
        """Refuse what a recipe would not look at.

        Raises:
            ValueError: There is such a field.
        """
        foreign = _OF_ROBUST if recipe == TrainingRecipe.STUDY else _OF_STUDY
        wrong = [name for name in sorted(foreign) if getattr(self, name) is not None]
        if wrong:
            raise ValueError(f"the recipe {recipe} has no {', '.join(wrong)}")


def _lacking(names: tuple[str, ...]) -> dict[str, Any]:
    """The schema of a request whose overrides lack these."""
    none = {name: {"type": "null"} for name in names}
    return {"properties": {"overrides": {"properties": none}}}


_BY_RECIPE: dict[str, Any] = {
    "if": {"properties": {"recipe": {"const": "study"}}, "required": ["recipe"]},
    "then": _lacking(_OF_ROBUST),
    "else": _lacking(_OF_STUDY),
}


class TrainingRequest(BaseModel):
    """A training run as it is asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra=_BY_RECIPE)

    architecture: Architecture
    dataset_id: uuid.UUID
    protocol: TrainingProtocol = TrainingProtocol.GROUPED
    recipe: TrainingRecipe = TrainingRecipe.ROBUST
    seeds: list[Seed] = Field(
        [1],
        min_length=1,
        max_length=MAX_SEEDS,
        description="A run each.",
        json_schema_extra={"uniqueItems": True},
    )
    overrides: Overrides = Overrides()
    base: str | None = Field(
        None,
        max_length=128,
        pattern=r"^[a-z0-9_]+(@[1-9][0-9]{0,8})?$",
        description="Registered version, `NAME@VERSION`, whose weights are trained further.",
    )
    name: str | None = Field(None, min_length=1, max_length=128, pattern=r"^[^\x00-\x1f]+$")

    @model_validator(mode="after")
    def _is_possible(self) -> TrainingRequest:
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("seeds must differ")
        self.overrides.check_recipe(self.recipe)
        return self


def check_base(base: ModelVersion, architecture: str) -> None:
    """Refuse to go on from a version that cannot give a network its weights.

    Raises:
        BaseMismatchError: It is of another architecture, or an ensemble.
    """
    if base.members or base.card["architecture"] != architecture:
        raise BaseMismatchError(f"{base} is of {base.card['architecture']}.")
