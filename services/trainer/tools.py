"""Puts together what training needs besides images."""

from __future__ import annotations

from pathlib import Path

from services.trainer.features import FeatureCache
from services.trainer.folders import FEATURES
from services.trainer.train import Tools
from shared.models.predictor import Predictor
from shared.models.pretrained import PretrainedWeights
from shared.models.registry import ModelRegistry
from shared.settings import InferenceSettings


def make_tools(settings: InferenceSettings, work: Path, teacher: str | None) -> Tools:
    """Pretrained weights, a cache of features in the work folder, and a teacher.

    Raises:
        UnknownModelError: No version is called as the teacher is.
    """
    teach = None
    if teacher:
        version = ModelRegistry(settings.models_dir).resolve(teacher)
        predictor = Predictor.load(version, settings)
        teach = lambda images: predictor.predict(images).calibrated  # noqa: E731
    weights = PretrainedWeights(settings.pretrained_dir)
    return Tools(weights, FeatureCache(work / FEATURES), teach)
