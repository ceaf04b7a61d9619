"""Inference engines: each runs one artefact and gives the softmax of a batch.

The precision is always stated: OpenVINO on its own accord takes bfloat16 on processors that
support it, and the probabilities then differ from those that were evaluated.
"""

from __future__ import annotations

import importlib
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shared.imaging import INPUT_SIZE, Pixels
from shared.models.registry import ModelVersion
from shared.settings import InferenceSettings

FULL_PRECISION = "f32"


class Engine(Protocol):
    """Runs one model. `predict` may be called from one thread at a time."""

    name: str
    precision: str
    artefact_sha256: str

    def predict(self, images: Pixels) -> NDArray[np.float32]:
        """Classify a batch of shape (n, 224, 224, 3); returns softmax of shape (n, 4)."""


def create_engine(version: ModelVersion, settings: InferenceSettings) -> Engine:
    """Load a version into the engine that the settings name, and warm it up.

    Only that engine's module is imported: the CPU worker is installed without TensorFlow.

    Raises:
        ModelArtefactError: The artefact is missing or altered.
    """
    module = importlib.import_module(f"{__name__}.{settings.engine}_engine")
    engine: Engine = module.create(version, settings)
    engine.predict(np.zeros((1, INPUT_SIZE, INPUT_SIZE, 3), dtype=np.uint8))
    return engine
