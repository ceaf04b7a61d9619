"""A version is a Keras model again, out of its file or out of its graph."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from services.trainer.export import ONNX_FILE, export_onnx, onnx_probabilities
from services.trainer.parity import keras_probabilities
from shared.errors import ModelArtefactError
from shared.imaging import Pixels
from shared.models import restore
from shared.models.architectures import build
from shared.models.architectures.blocks import classify, classify_vector, image_input
from shared.models.engines.tensorflow_engine import TensorFlowEngine
from shared.models.registry import ModelRegistry, ModelVersion
from shared.models.restore import restore_keras
from shared.settings import InferenceSettings
from tests.networks import drawn, small_vgg


@pytest.fixture(scope="module")
def images() -> Pixels:
    return drawn(8)


@pytest.fixture(scope="module")
def champion() -> ModelVersion:
    return ModelRegistry(InferenceSettings().models_dir).resolve("cnn_custom@1")


@pytest.fixture(scope="module")
def model(champion: ModelVersion) -> keras.Model:
    return keras.models.load_model(champion.artefact_path("keras"))


def graph_only(model: keras.Model, folder: Path, images: Pixels) -> ModelVersion:
    """A version that ships no `model.keras`."""
    artefacts = {"onnx": export_onnx(model, folder / ONNX_FILE, images)}
    card = {"architecture": "of the test", "artefacts": artefacts}
    (folder / "card.json").write_text(json.dumps(card))
    return ModelVersion("graph_only", 1, folder)


def test_the_shipped_graph_restores_the_shipped_keras_model(
    champion: ModelVersion, model: keras.Model, tmp_path: Path
) -> None:
    copy = tmp_path / "1"
    shutil.copytree(champion.folder, copy)
    card = json.loads((copy / "card.json").read_text())
    del card["artefacts"]["keras"]
    (copy / "card.json").write_text(json.dumps(card))
    (copy / "model.keras").unlink()
    restored = restore_keras(ModelVersion("cnn_custom", 1, copy))
    for shipped, rebuilt in zip(model.get_weights(), restored.get_weights(), strict=True):
        assert np.array_equal(shipped, rebuilt)


def test_a_version_that_ships_keras_is_loaded_from_it(
    champion: ModelVersion, model: keras.Model
) -> None:
    assert TensorFlowEngine(champion).artefact_sha256 == champion.sha256("keras")
    for before, after in zip(
        model.get_weights(), restore_keras(champion).get_weights(), strict=True
    ):
        assert np.array_equal(before, after)


def test_the_tensorflow_engine_runs_a_version_that_has_only_a_graph(
    images: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = graph_only(small_vgg(), tmp_path, images)
    monkeypatch.setattr(restore, "build", lambda _: small_vgg())
    engine = TensorFlowEngine(version)
    assert engine.artefact_sha256 == version.sha256("onnx")
    graph = onnx_probabilities(version.artefact_path("onnx").read_bytes(), images)
    assert np.abs(engine.predict(images).probabilities - graph).max() < 1e-5


def other_preprocessing() -> keras.Model:
    inputs = image_input()
    x = layers.Rescaling(1 / 255)(inputs)
    for _ in range(2):
        for _ in range(2):
            x = layers.Conv2D(32, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D(4)(x)
    return keras.Model(inputs, classify(x))


def test_batch_normalisation_is_rebuilt_with_the_layer_that_it_was_merged_into(
    images: Pixels, tmp_path: Path
) -> None:
    model = build("student")
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            spread = rng.uniform(0.5, 1.5, (2, layer.weights[0].shape[0]))
            shift = rng.normal(0, 0.1, spread.shape)
            layer.set_weights([spread[0], shift[0], shift[1], spread[1]])
    artefacts = {"onnx": export_onnx(model, tmp_path / ONNX_FILE, images)}
    card = {"architecture": "student", "artefacts": artefacts}
    (tmp_path / "card.json").write_text(json.dumps(card))
    restored = restore_keras(ModelVersion("student", 1, tmp_path))
    expected = keras_probabilities(model, images)
    assert np.ptp(expected, axis=1).max() > 0.01, "the network must tell something"
    assert np.abs(keras_probabilities(restored, images) - expected).max() < 5e-3


def with_attention() -> keras.Model:
    inputs = image_input()
    x = layers.Rescaling(1 / 255)(inputs)
    x = layers.Reshape((49, 32 * 32 * 3))(x)
    x = layers.Dense(8)(x)
    x = layers.MultiHeadAttention(1, 8)(x, x)
    return keras.Model(inputs, classify_vector(layers.GlobalAveragePooling1D()(x)))


@pytest.mark.parametrize(
    ("architecture", "fault"),
    [
        (lambda: small_vgg(filters=16), r"takes weights of"),
        (lambda: small_vgg(blocks=3), r"has 6 layers with weights.* has 8"),
        (with_attention, "only a model.keras restores"),
        (other_preprocessing, "differs from it by"),
    ],
)
def test_a_graph_of_another_architecture_is_refused(
    architecture: object,
    fault: str,
    images: Pixels,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    version = graph_only(small_vgg(), tmp_path, images)
    monkeypatch.setattr(restore, "build", lambda _: architecture())  # type: ignore[operator]
    with pytest.raises(ModelArtefactError, match=fault):
        restore_keras(version)
