"""Puts together what training needs besides images."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from services.trainer.features import FeatureCache
from services.trainer.folders import FEATURES
from services.trainer.train import Tools
from shared.models.predictor import Predictor
from shared.models.pretrained import PretrainedWeights
from shared.models.registry import ModelRegistry
from shared.models.restore import restore_keras
from shared.settings import InferenceSettings


def make_tools(
    settings: InferenceSettings, work: Path, *, teacher: str | None, base: str | None = None
) -> Tools:
    """Pretrained weights, a cache of features in the work folder, a teacher, and a base.

    Raises:
        UnknownModelError: No version is called as the teacher, or the base, is.
    """
    registry = ModelRegistry(settings.models_dir)
    teach = None
    if teacher:
        predictor = Predictor.load(registry.resolve(teacher), settings)
        teach = lambda images: predictor.predict(images).calibrated  # noqa: E731
    return Tools(
        PretrainedWeights(settings.pretrained_dir),
        FeatureCache(work / FEATURES),
        teach,
        partial(restore_keras, registry.resolve(base)) if base else None,
    )
