"""The CPU engine after an error, and after its use."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from typing import Any

import numpy as np
import pytest

from shared.models.engines import openvino_engine
from shared.models.engines.openvino_engine import OpenVINOEngine
from shared.models.registry import ModelRegistry
from shared.settings import InferenceSettings
from tests.networks import drawn

WANT_OF_MEMORY = """
from tests.unit.test_openvino_engine import an_answer_that_cannot_be_kept
an_answer_that_cannot_be_kept()
"""


@pytest.fixture
def engine() -> OpenVINOEngine:
    return student(maps=False)


def student(*, maps: bool) -> OpenVINOEngine:
    version = ModelRegistry(InferenceSettings().models_dir).resolve("student@2")
    return OpenVINOEngine(version, maps=maps)


def an_answer_that_cannot_be_kept() -> None:
    """Memory wants while the maps of two images are copied; the calls after that are as before."""
    engine, images = student(maps=True), drawn(5)
    expected = engine.predict(images)
    positions_first, calls = openvino_engine._positions_first, 0

    def failing(one: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls in {2, 3}:
            raise MemoryError(f"call {calls}")
        return positions_first(one)

    openvino_engine._positions_first = failing
    with pytest.raises(MemoryError, match="call 2"):
        engine.predict(images)
    for _ in range(2):
        again = engine.predict(images)
        for name in ("probabilities", "features", "maps"):
            np.testing.assert_allclose(getattr(again, name), getattr(expected, name), atol=1e-4)


def test_an_answer_that_cannot_be_kept_fails_its_call_alone() -> None:
    """In a process of its own, which such an error could end."""
    command = [sys.executable, "-c", WANT_OF_MEMORY]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_an_image_that_cannot_be_computed_fails_its_call_alone(engine: OpenVINOEngine) -> None:
    images = drawn(5)
    expected = engine.predict(images)
    other_shape: Any = [*images, images[0, :, :5]]
    with pytest.raises(RuntimeError, match="shape"):
        engine.predict(other_shape)
    again = engine.predict(images)
    np.testing.assert_allclose(again.probabilities, expected.probabilities, atol=1e-4)


def test_an_engine_that_nobody_holds_is_freed() -> None:
    engine = student(maps=False)
    engine.predict(drawn(3))
    alive = weakref.ref(engine)
    del engine
    gc.collect()
    assert alive() is None
