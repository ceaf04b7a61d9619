"""Grad-CAM by hand against Keras' own gradients, for every architecture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from services.trainer.export import export_onnx
from shared.errors import ModelArtefactError
from shared.imaging import Pixels
from shared.models.architectures import build
from shared.models.engines import Engine, create_engine, openvino_engine
from shared.models.engines.tensorflow_engine import map_of
from shared.models.gradcam import Head, enlarge, grad_cam, scaled
from shared.models.precision import FULL
from shared.models.predictor import Predictor
from shared.models.registry import ModelRegistry, ModelVersion
from shared.models.restore import restore_keras
from shared.settings import PROJECT_ROOT, InferenceSettings
from tests.networks import drawn

_LARGE = [pytest.mark.exhaustive, pytest.mark.slow]
SHIPPED = (
    *("cnn_custom@1", "efficientnet_lite0@1", "student@2"),
    pytest.param("vgg16_finetune@1", marks=_LARGE),
)
OTHERS = [pytest.param(name, marks=_LARGE) for name in ("vit_tiny", "resnet50", "densenet121")]

SETTINGS = InferenceSettings(models_dir=PROJECT_ROOT / "models")
REGISTRY = ModelRegistry(SETTINGS.models_dir)


@pytest.fixture(scope="module")
def images() -> Pixels:
    return drawn(3)


def reference(model: keras.Model, images: Pixels, labels: NDArray[np.int64]) -> NDArray[np.float32]:
    """Grad-CAM as its paper has it: the gradient of the score before the softmax, by Keras."""
    kernel, bias = model.layers[-1].get_weights()
    parts = keras.Model(model.input, [map_of(model), model.layers[-1].input])
    with tf.GradientTape() as tape:
        maps, hidden = parts(images, training=False)
        tape.watch(maps)
        score = tf.reduce_sum((hidden @ kernel + bias) * tf.one_hot(labels, 4))
    gradient = tape.gradient(score, maps)
    positions = tuple(range(1, len(maps.shape) - 1))
    weights = tf.reduce_mean(gradient, axis=positions, keepdims=True)
    evidence = tf.nn.relu(tf.reduce_sum(weights * maps, axis=-1)).numpy()
    side = int(np.sqrt(evidence[0].size))
    return evidence.reshape(len(images), side, side)


def by_hand(engine: Engine, images: Pixels, labels: NDArray[np.int64]) -> NDArray[np.float32]:
    outputs = engine.predict(images)
    assert outputs.maps is not None and engine.head is not None
    return grad_cam(outputs.maps, outputs.features, labels, engine.head)


def assert_equal_maps(
    version: ModelVersion,
    model: keras.Model,
    images: Pixels,
    settings: InferenceSettings = SETTINGS,
) -> None:
    engine = create_engine(version, settings, FULL, maps=True)
    told_apart = 0
    for label in range(4):  # whichever the network predicts, any class can be explained
        labels = np.full(len(images), label)
        for one, other in zip(
            by_hand(engine, images, labels), reference(model, images, labels), strict=True
        ):
            # Its weights may be stored in float16.
            assert one == pytest.approx(other, abs=0.02 * float(other.max()) + 1e-6)
            if other.std() > 0:
                assert np.corrcoef(one.ravel(), other.ravel())[0, 1] >= 0.999
                told_apart += 1
    assert told_apart >= len(images)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_maps_of_shipped_versions_are_those_of_keras(name: str, images: Pixels) -> None:
    version = REGISTRY.resolve(name)
    assert_equal_maps(version, restore_keras(version), images)


@pytest.mark.parametrize("name", OTHERS)
def test_the_maps_of_every_other_architecture_are_those_of_keras(
    name: str, images: Pixels, tmp_path: Path
) -> None:
    keras.utils.set_random_seed(1)
    model = build(name)
    version = ModelVersion(name, 1, tmp_path)
    exported = export_onnx(model, tmp_path / "model.onnx", images)
    version.__dict__["card"] = {"artefacts": {"onnx": exported}}
    assert_equal_maps(version, model, images)


def test_tensorflow_gives_the_same_maps(images: Pixels) -> None:
    version, labels = REGISTRY.resolve("cnn_custom@1"), np.array([0, 1, 2])
    settings = SETTINGS.model_copy(update={"engine": "tensorflow"})
    by_tensorflow = by_hand(create_engine(version, settings, FULL, maps=True), images, labels)
    by_openvino = by_hand(create_engine(version, SETTINGS, FULL, maps=True), images, labels)
    assert by_tensorflow == pytest.approx(by_openvino, abs=1e-4)


def test_the_probabilities_are_those_of_an_engine_without_maps(images: Pixels) -> None:
    version = REGISTRY.resolve("cnn_custom@1")
    with_maps = create_engine(version, SETTINGS, FULL, maps=True).predict(images)
    without = create_engine(version, SETTINGS, FULL).predict(images)
    assert np.array_equal(with_maps.probabilities, without.probabilities)
    assert with_maps.maps is not None and without.maps is None
    assert with_maps.maps.mean(axis=(1, 2)) == pytest.approx(with_maps.features, abs=1e-5)


def test_the_gradient_is_the_slope_of_the_score() -> None:
    rng = np.random.default_rng(0)
    head = Head(rng.normal(size=(6, 256)), rng.normal(size=256), rng.normal(size=(256, 4)))
    features, labels = rng.normal(size=(5, 6)), np.array([0, 1, 2, 3, 1])

    def score(rows: NDArray[np.float64]) -> NDArray[np.float64]:
        z = rows @ head.hidden + head.hidden_bias
        every: NDArray[np.float64] = (z / (1 + np.exp(-z))) @ head.scores
        return every[np.arange(5), labels]

    step = 1e-6 * np.eye(6)
    slopes = np.stack([(score(features + s) - score(features - s)) / 2e-6 for s in step], axis=1)
    assert head.gradient(features, labels) == pytest.approx(slopes, rel=1e-4, abs=1e-6)


def test_a_map_without_evidence_stays_without() -> None:
    nothing = enlarge(np.zeros((1, 7, 7), np.float32))
    assert nothing.shape == (1, 224, 224) and not nothing.any()


def test_the_largest_value_of_each_enlarged_map_is_one() -> None:
    evidence = np.zeros((2, 7, 7), np.float32)
    evidence[0, 1, 5], evidence[1, 6, 0] = 0.02, 50
    enlarged = enlarge(evidence)
    assert enlarged.max(axis=(1, 2)) == pytest.approx([1, 1])
    row, column = np.unravel_index(enlarged[0].argmax(), (224, 224))
    assert (row // 32, column // 32) == (1, 5)


def test_an_ensemble_shows_the_mean_of_its_members(images: Pixels) -> None:
    version, labels = REGISTRY.resolve("ensemble"), np.array([1, 1, 2])
    members = [
        Predictor.load_in(FULL, member.version, SETTINGS, maps=True).grad_cam(images, labels)
        for member in version.members
    ]
    together = Predictor.load_in(FULL, version, SETTINGS, maps=True).grad_cam(images, labels)
    assert together == pytest.approx(scaled(np.mean(members, axis=0)), abs=1e-5)


def test_a_predictor_that_was_loaded_without_maps_explains_nothing(images: Pixels) -> None:
    predictor = Predictor.load_in(FULL, REGISTRY.resolve("cnn_custom@1"), SETTINGS)
    with pytest.raises(ValueError, match="loaded with maps"):
        predictor.grad_cam(images, np.zeros(3, np.int64))


def test_a_head_that_does_not_classify_the_last_map_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def earlier(features: Any) -> Any:
        """What goes into the pooling before the last map, which has as many channels."""
        return last_map(features).get_node().input_value(0)

    last_map = openvino_engine._map
    monkeypatch.setattr(openvino_engine, "_map", earlier)
    with pytest.raises(ModelArtefactError, match="last map"):
        create_engine(REGISTRY.resolve("cnn_custom@1"), SETTINGS, FULL, maps=True)


def test_maps_are_of_the_float32_graph_alone() -> None:
    with pytest.raises(ValueError, match="f32 with maps"):
        create_engine(REGISTRY.resolve("efficientnet_lite0@1"), SETTINGS, "int8", maps=True)
