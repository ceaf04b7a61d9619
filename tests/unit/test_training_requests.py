"""What may be asked of a training run is what the trainer knows."""

from __future__ import annotations

import uuid

import pytest
from pydantic import ValidationError

from services.trainer.plan import Recipe, TrainingPlan, make_plan
from services.trainer.splits import Protocol
from shared.imaging.augment import Augmentation
from shared.models.architectures import architectures
from shared.models.registry import ModelRegistry
from shared.settings import PROJECT_ROOT
from shared.trainings.request import (
    ARCHITECTURES,
    BaseMismatchError,
    Overrides,
    TrainingProtocol,
    TrainingRecipe,
    TrainingRequest,
    check_base,
)

GIVEN = {"architecture": "cnn_custom", "dataset_id": str(uuid.uuid4())}


def asked(**changes: object) -> TrainingRequest:
    return TrainingRequest.model_validate({**GIVEN, **changes})


def test_every_architecture_may_be_asked_for() -> None:
    assert sorted(ARCHITECTURES) == sorted(architectures())


def test_protocols_are_the_trainers_without_the_published_one() -> None:
    assert {str(one) for one in TrainingProtocol} == {str(one) for one in Protocol} - {"published"}


def test_recipes_are_the_trainers() -> None:
    assert {str(one) for one in TrainingRecipe} == {str(one) for one in Recipe}


def test_what_may_be_overridden_is_of_the_plan() -> None:
    fields = set(Overrides.model_fields)
    assert fields <= set(TrainingPlan.__dataclass_fields__)
    assert not fields & {"architecture", "recipe", "seed", "teacher", "base"}


@pytest.mark.parametrize("kind", list(Augmentation))
def test_every_kind_of_variants_may_be_asked_for(kind: Augmentation) -> None:
    overrides = asked(recipe="robust", overrides={"augmentation": str(kind)}).overrides
    plan = make_plan("student", Recipe.ROBUST, **overrides.model_dump(exclude_none=True))
    assert plan.augmentation is kind


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("recipe", list(TrainingRecipe))
def test_every_request_makes_a_plan(architecture: str, recipe: TrainingRecipe) -> None:
    common = {"max_epochs": 2, "images_per_class": 8, "batch_size": 4, "learning_rate": 0.01}
    own = {"patience": 2} if recipe is TrainingRecipe.STUDY else {"with_validation": True}
    request = asked(architecture=architecture, recipe=recipe, overrides={**common, **own})
    overrides = request.overrides.model_dump(exclude_none=True)
    plan = make_plan(request.architecture, Recipe(request.recipe), **overrides)
    for name, value in {**common, **own}.items():
        assert getattr(plan, name) == value


@pytest.mark.parametrize(
    ("recipe", "override"),
    [
        ("study", {"with_validation": True}),
        ("study", {"weight_decay": 0.1}),
        ("study", {"augmentation": "turned"}),
        ("robust", {"patience": 3}),
        ("robust", {"lr_patience": 3}),
    ],
)
def test_an_override_that_its_recipe_would_not_look_at_is_refused(recipe, override) -> None:
    with pytest.raises(ValidationError, match="has no"):
        asked(recipe=recipe, overrides=override)


def test_a_base_is_of_the_same_architecture_and_no_ensemble() -> None:
    registry = ModelRegistry(PROJECT_ROOT / "models")
    check_base(registry.resolve("cnn_custom@1"), "cnn_custom")
    for name in ("student@1", "ensemble@1"):
        with pytest.raises(BaseMismatchError):
            check_base(registry.resolve(name), "cnn_custom")
