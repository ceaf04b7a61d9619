"""A lower precision runs only with a passed verdict, and only where the machine has it."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from services.trainer.gate import LIMITS, compare
from shared.imaging.decode import to_model_input
from shared.local.synthetic import draw_smear
from shared.models.engines.tensorflow_engine import TensorFlowEngine
from shared.models.precision import Precision, PrecisionRefusedError, choose_precision
from shared.models.prediction import Prediction
from shared.models.registry import ModelRegistry, ModelVersion
from shared.settings import InferenceSettings

ALL: tuple[Precision, ...] = ("f32", "bf16", "int8")


@pytest.fixture
def judged(tmp_path: Path) -> Callable[..., ModelVersion]:
    """A version with verdicts for OpenVINO."""

    def make(**passed: bool) -> ModelVersion:
        verdicts = {precision: {"passed": verdict} for precision, verdict in passed.items()}
        (tmp_path / "card.json").write_text(json.dumps({"precisions": {"openvino": verdicts}}))
        return ModelVersion("m", 1, tmp_path)

    return make


@pytest.mark.parametrize(
    ("passed", "supported", "chosen"),
    [
        ({}, ALL, "f32"),
        ({"int8": True, "bf16": True}, ALL, "int8"),
        ({"int8": True, "bf16": True}, ("f32", "bf16"), "bf16"),
        ({"int8": False, "bf16": True}, ALL, "bf16"),
        ({"int8": False}, ALL, "f32"),
        ({"bf16": True}, ("f32", "int8"), "f32"),
    ],
)
def test_the_best_is_the_lowest_that_passed_and_is_there(
    judged: Callable[..., ModelVersion],
    passed: dict[str, bool],
    supported: Collection[Precision],
    chosen: Precision,
) -> None:
    assert choose_precision(judged(**passed), InferenceSettings(), supported) == chosen


@pytest.mark.parametrize(
    ("passed", "supported", "reason"),
    [
        ({}, ALL, "no passed verdict"),
        ({"int8": False}, ALL, "no passed verdict"),
        ({"int8": True}, ("f32",), "no int8 here"),
    ],
)
def test_a_precision_that_may_not_be_used_is_refused(
    judged: Callable[..., ModelVersion],
    passed: dict[str, bool],
    supported: Collection[Precision],
    reason: str,
) -> None:
    settings = InferenceSettings(precision="int8")
    with pytest.raises(PrecisionRefusedError, match=reason):
        choose_precision(judged(**passed), settings, supported)


def test_a_verdict_counts_for_its_engine_alone(judged: Callable[..., ModelVersion]) -> None:
    settings = InferenceSettings(engine="tensorflow")
    assert choose_precision(judged(bf16=True), settings, ("f32", "bf16")) == "f32"


def prediction(*rows: tuple[float, float, float, float]) -> Prediction:
    """Rows of calibrated probabilities, a thousand times each."""
    calibrated = np.repeat(np.array(rows), 1000, axis=0)
    return Prediction(calibrated.astype(np.float32), calibrated)


SURE = (0.02, 0.95, 0.02, 0.01)
"""Early, urgent."""


def judge(before: Prediction, after: Prediction) -> dict[str, object]:
    return compare(before, after, np.ones(len(before.raw), dtype=np.int64))


def changed(rows: int, to: tuple[float, float, float, float], of: Prediction) -> Prediction:
    calibrated = of.calibrated.copy()
    calibrated[:rows] = to
    return Prediction(calibrated.astype(np.float32), calibrated)


def test_equal_predictions_pass() -> None:
    verdict = judge(prediction(SURE), prediction(SURE))
    assert verdict["passed"] is True
    assert verdict["correct"] == {"full": 1000, "lower": 1000}


def test_a_stated_count_of_labels_may_change() -> None:
    doubtful = prediction((0.48, 0.52, 0.0, 0.0))
    allowed = int(1000 * LIMITS.labels_changed)
    for rows, passes in ((allowed, True), (allowed + 1, False)):
        verdict = judge(doubtful, changed(rows, (0.52, 0.48, 0.0, 0.0), doubtful))
        assert verdict["labels_changed"] == rows
        assert verdict["passed"] is passes


def test_not_one_urgent_result_may_become_less() -> None:
    near = prediction((0.09, 0.905, 0.005, 0.0))
    lower = changed(1, (0.1, 0.895, 0.005, 0.0), near)
    verdict = judge(near, lower)
    assert (verdict["labels_changed"], verdict["urgent_lowered"]) == (0, 1)
    assert verdict["passed"] is False
    assert judge(lower, near)["passed"] is True, "more urgent is allowed"


@pytest.mark.parametrize("probability", [0.84, float("nan")])
def test_no_probability_may_differ_by_much(probability: float) -> None:
    review = prediction((0.3, 0.7, 0.0, 0.0))
    moved = changed(1, (1 - probability, probability, 0.0, 0.0), review)
    assert judge(review, moved)["passed"] is False


def test_what_is_flagged_may_hardly_change() -> None:
    full = replace(prediction(SURE), unlikeness=np.full(1000, 0.5))
    allowed = int(1000 * LIMITS.reviews_changed)
    for rows, passes in ((allowed, True), (allowed + 1, False)):
        shifted = np.where(np.arange(1000) < rows, 1.5, 0.5)
        verdict = judge(full, replace(full, unlikeness=shifted))
        assert verdict["reviews_changed"] == rows
        assert verdict["passed"] is passes


@pytest.mark.parametrize(
    ("options", "tolerance"), [({"precision": "bf16"}, 0.05), ({"xla": True}, 1e-5)]
)
def test_tensorflow_runs_in_mixed_precision_and_by_xla(
    options: dict[str, object], tolerance: float
) -> None:
    version = ModelRegistry(InferenceSettings().models_dir).resolve("cnn_custom@1")
    images = np.stack([to_model_input(draw_smear(seed)) for seed in range(3)])
    full = TensorFlowEngine(version).predict(images).probabilities
    other = TensorFlowEngine(version, **options)  # type: ignore[arg-type]
    found = other.predict(images).probabilities
    assert other.precision == options.get("precision", "f32")
    assert found.dtype == np.float32
    assert np.abs(found - full).max() < tolerance


def test_float32_is_not_shortened_on_a_gpu_that_could() -> None:
    tf.config.experimental.enable_tensor_float_32_execution(True)
    TensorFlowEngine(ModelRegistry(InferenceSettings().models_dir).resolve("cnn_custom@1"))
    assert not tf.config.experimental.tensor_float_32_execution_enabled()
