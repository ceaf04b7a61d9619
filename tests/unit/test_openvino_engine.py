"""The CPU engine after an error, after its use, and at the end of its process."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from shared.models.engines import openvino_engine
from shared.models.engines.openvino_engine import OpenVINOEngine
from shared.models.engines.outputs import Outputs
from shared.models.registry import ModelRegistry
from shared.settings import InferenceSettings
from tests.networks import drawn

USED_TO_THE_END = """
import numpy as np
from shared.models.engines.openvino_engine import OpenVINOEngine
from shared.models.registry import ModelRegistry
from shared.settings import InferenceSettings
version = ModelRegistry(InferenceSettings().models_dir).resolve("student@2")
engine = OpenVINOEngine(version, maps=True)
print(len(engine.predict(np.zeros((7, 224, 224, 3), np.uint8)).probabilities))
"""


def student(*, maps: bool) -> OpenVINOEngine:
    version = ModelRegistry(InferenceSettings().models_dir).resolve("student@2")
    return OpenVINOEngine(version, maps=maps)


def assert_same(again: Outputs, expected: Outputs) -> None:
    for name in ("probabilities", "features", "maps"):
        np.testing.assert_allclose(getattr(again, name), getattr(expected, name), atol=1e-4)


@pytest.mark.parametrize("failing_at", [1, 4, 7])
def test_an_answer_that_cannot_be_kept_fails_its_call_alone(
    failing_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, images = student(maps=True), drawn(7)
    expected = engine.predict(images)
    positions_first, calls = openvino_engine._positions_first, 0

    def failing(one: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == failing_at:
            raise MemoryError(f"call {calls}")
        return positions_first(one)

    monkeypatch.setattr(openvino_engine, "_positions_first", failing)
    with pytest.raises(MemoryError, match=f"call {failing_at}"):
        engine.predict(images)
    for _ in range(2):
        assert_same(engine.predict(images), expected)


def test_an_image_that_cannot_be_computed_fails_its_call_alone() -> None:
    engine, images = student(maps=True), drawn(5)
    expected = engine.predict(images)
    other_shape: Any = [*images, images[0, :, :5]]
    with pytest.raises(RuntimeError, match="shape"):
        engine.predict(other_shape)
    assert_same(engine.predict(images), expected)


@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_answers_are_those_of_each_image_alone(count: int) -> None:
    engine, images = student(maps=True), drawn(count)
    alone = [engine.predict(images[index : index + 1]) for index in range(count)]
    together = engine.predict(images)
    for index, one in enumerate(alone):
        np.testing.assert_allclose(one.probabilities[0], together.probabilities[index], atol=1e-5)
        np.testing.assert_allclose(one.features[0], together.features[index], atol=1e-4)
        np.testing.assert_allclose(one.maps[0], together.maps[index], atol=1e-4)


def test_another_call_may_begin_once_no_image_waits() -> None:
    engine, images = student(maps=True), drawn(12)
    expected = engine.predict(images)
    within: list[Outputs] = []
    with ThreadPoolExecutor(1) as other:

        def call_again() -> None:
            within.append(other.submit(engine.predict, images[:5]).result(60))

        outer = engine.predict(images, call_again)
    assert_same(outer, expected)
    (inner,) = within
    np.testing.assert_allclose(inner.probabilities, expected.probabilities[:5], atol=1e-4)


def test_calls_that_overlap_give_what_each_gives_alone() -> None:
    engine, images = student(maps=True), drawn(9)
    parts = [images[:9], images[2:5], images[4:5]] * 4
    expected = [engine.predict(part) for part in parts]
    with ThreadPoolExecutor(2) as two:
        for again, alone in zip(two.map(engine.predict, parts), expected, strict=True):
            assert_same(again, alone)


@pytest.mark.parametrize("count", [0, 1, 9])
def test_that_all_has_begun_is_told_once(count: int) -> None:
    told: list[int] = []
    student(maps=False).predict(drawn(9)[:count], lambda: told.append(1))
    assert told == [1]


def test_an_engine_that_nobody_holds_is_freed() -> None:
    engine = student(maps=False)
    engine.predict(drawn(3))
    alive = weakref.ref(engine)
    del engine
    gc.collect()
    assert alive() is None


def test_a_process_that_used_an_engine_ends_in_order() -> None:
    command = [sys.executable, "-c", USED_TO_THE_END]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "7\n", "")
