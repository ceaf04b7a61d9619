"""Inference engines: each runs one artefact and gives the softmax of a batch.

The precision is always stated: OpenVINO on its own accord takes bfloat16 on processors that
support it, and the probabilities then differ from those that were evaluated.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection
from typing import Protocol, cast

import numpy as np

from shared.errors import ModelArtefactError
from shared.imaging import INPUT_SIZE, Pixels
from shared.models.engines.outputs import Outputs
from shared.models.gradcam import Head
from shared.models.precision import Precision
from shared.models.registry import ModelVersion
from shared.settings import EngineName, InferenceSettings

OnBegun = Callable[[], None] | None
"""Called once no image of a call waits any more, the last ones being computed, by an engine that
can be called from another thread from then on."""


class Engine(Protocol):
    """Runs one model. `predict` may be called from one thread at a time, but see `OnBegun`."""

    name: str
    precision: Precision
    artefact_sha256: str
    build: str
    """Version of the engine, and what it computes on: they decide how it rounds."""
    head: Head | None
    """What classifies the features; of an engine that gives maps."""

    def predict(self, images: Pixels, on_begun: OnBegun = None) -> Outputs:
        """Classify a batch of shape (n, 224, 224, 3)."""


class _EngineModule(Protocol):
    """What each module of this package offers."""

    def create(
        self,
        version: ModelVersion,
        settings: InferenceSettings,
        precision: Precision,
        *,
        maps: bool,
    ) -> Engine: ...

    def supported_precisions(self) -> Collection[Precision]: ...


def create_engine(
    version: ModelVersion, settings: InferenceSettings, precision: Precision, *, maps: bool = False
) -> Engine:
    """Load a version into the engine that the settings name, and warm it up.

    Args:
        version: The version.
        settings: The engine and its threads.
        precision: What it computes in.
        maps: Have it give the last feature map too, from which a prediction is explained. In
            float32 alone: what is explained is the network, not its rounding.

    Raises:
        ModelArtefactError: The artefact is missing or altered, or its last map is not what its
            head classifies.
    """
    engine = _module(settings.engine).create(version, settings, precision, maps=maps)
    warm = engine.predict(np.zeros((1, INPUT_SIZE, INPUT_SIZE, 3), dtype=np.uint8))
    if warm.maps is not None and not np.allclose(
        warm.maps.mean(axis=(1, 2)), warm.features, rtol=1e-2, atol=1e-3
    ):
        raise ModelArtefactError(f"The head of {version} does not classify its last map's mean.")
    return engine


def supported_precisions(engine: EngineName) -> Collection[Precision]:
    """The precisions that an engine computes faster than in emulation on this machine."""
    return _module(engine).supported_precisions()


def _module(engine: EngineName) -> _EngineModule:
    """Import one engine alone: the CPU worker is installed without TensorFlow."""
    return cast(_EngineModule, importlib.import_module(f"{__name__}.{engine}_engine"))
