"""What is exported answers as Keras does, and what does not is not written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter
from keras import layers
from keras.applications import vgg16

from services.trainer.export import export_artefacts, export_keras, export_onnx, onnx_probabilities
from services.trainer.onnx_weights import LEAST_ELEMENTS
from services.trainer.parity import TOLERANCES, Parity
from services.trainer.tflite import LEAST_CALIBRATION_IMAGES, export_tflite, tflite_probabilities
from shared.errors import DatasetError, ModelArtefactError
from shared.imaging import Pixels
from shared.imaging.decode import load_model_input, to_model_input
from shared.local.synthetic import draw_smear
from shared.models import restore
from shared.models.architectures.blocks import classify, image_input
from shared.models.engines.tensorflow_engine import TensorFlowEngine
from shared.models.registry import ModelRegistry, ModelVersion
from shared.models.restore import rebuildable, restore_keras
from shared.settings import DEFAULT_MAX_PIXELS, InferenceSettings


def drawn(count: int) -> Pixels:
    return np.stack([to_model_input(draw_smear(s, red_cells=20)) for s in range(count)])


@pytest.fixture(scope="module")
def images() -> Pixels:
    return drawn(8)


@pytest.fixture(scope="module")
def champion() -> ModelVersion:
    return ModelRegistry(InferenceSettings().models_dir).resolve("cnn_custom@1")


@pytest.fixture(scope="module")
def model(champion: ModelVersion) -> keras.Model:
    return keras.models.load_model(champion.artefact_path("keras"))


def small_vgg(*, filters: int = 32, blocks: int = 2) -> keras.Model:
    """Built as VGG16 is, with its preprocessing; its weights are random."""
    keras.utils.set_random_seed(3)
    inputs = image_input()
    x = vgg16.preprocess_input(keras.ops.cast(inputs, "float32"))
    for _ in range(blocks):
        for _ in range(2):
            x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D(4)(x)
    return keras.Model(inputs, classify(x, dropout=0.4))


def normalised() -> keras.Model:
    """Depthwise convolutions with batch normalisation that has seen data."""
    keras.utils.set_random_seed(4)
    inputs = image_input()
    x = layers.Rescaling(1 / 128, offset=-127 / 128)(inputs)
    x = layers.Conv2D(16, 3, 4, padding="same", use_bias=False)(x)
    for _ in range(2):
        x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
        x = layers.DepthwiseConv2D(3, 2, padding="same", use_bias=False)(x)
        x = layers.Conv2D(64, 1, use_bias=False)(x)
    built = keras.Model(inputs, classify(layers.BatchNormalization()(x)))
    for layer in built.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([w + 0.1 * np.random.rand(*w.shape) for w in layer.get_weights()])
    return built


def beyond_float16() -> keras.Model:
    """Its kernel holds values that float16 has not, and what follows takes them back."""
    keras.utils.set_random_seed(5)
    inputs = image_input()
    x = layers.Conv2D(64, 3, 8, activation="relu", name="huge")(layers.Rescaling(1 / 255)(inputs))
    built = keras.Model(inputs, classify(layers.Rescaling(1e-6)(x)))
    huge = built.get_layer("huge")
    huge.set_weights([1e6 * weights for weights in huge.get_weights()])
    return built


@pytest.mark.parametrize("build", [small_vgg, normalised])
def test_half_of_the_bytes_give_the_same_answers(
    build: object, images: Pixels, tmp_path: Path
) -> None:
    built = build()  # type: ignore[operator]
    half = export_onnx(built, tmp_path / "half.onnx", images)
    full = export_onnx(built, tmp_path / "full.onnx", images, precisions=("float32",))
    assert (half["weights"], full["weights"]) == ("float16", "float32")
    assert half["bytes"] == (tmp_path / "half.onnx").stat().st_size < 0.7 * full["bytes"]
    assert half["parity"]["equal_labels"] == len(images)
    assert full["parity"]["largest_difference"] < 1e-4


def test_the_graph_with_float16_weights_computes_in_float32(
    model: keras.Model, images: Pixels, tmp_path: Path
) -> None:
    path = tmp_path / "half.onnx"
    export_onnx(model, path, images)
    graph = onnx.load(path)
    onnx.checker.check_model(graph, full_check=True)
    stored = {tensor.data_type for tensor in graph.graph.initializer}
    large = [t for t in graph.graph.initializer if np.prod(t.dims) >= LEAST_ELEMENTS]
    assert onnx.TensorProto.FLOAT16 in stored
    assert {tensor.data_type for tensor in large} == {onnx.TensorProto.FLOAT16}
    inferred = onnx.shape_inference.infer_shapes(graph).graph.value_info
    computed = {value.name: value.type.tensor_type.elem_type for value in inferred}
    assert onnx.TensorProto.FLOAT16 not in computed.values()


def test_both_onnx_runtimes_take_batches_of_any_size(
    model: keras.Model, images: Pixels, tmp_path: Path
) -> None:
    path = tmp_path / "half.onnx"
    export_onnx(model, path, images)
    session = onnxruntime.InferenceSession(path)
    for count in (1, 3):
        (answer,) = session.run(None, {"image": images[:count]})
        assert answer.shape == (count, 4)
        assert answer.dtype == np.float32
        other = onnx_probabilities(path.read_bytes(), images[:count])
        assert np.abs(answer - other).max() < 1e-5


def test_weights_beyond_float16_stay_float32(images: Pixels, tmp_path: Path) -> None:
    written = export_onnx(beyond_float16(), tmp_path / "model.onnx", images)
    assert written["weights"] == "float32"
    assert written["parity"]["equal_labels"] == len(images)


def test_an_export_without_parity_leaves_no_file(images: Pixels, tmp_path: Path) -> None:
    with pytest.raises(ModelArtefactError, match="float16"):
        export_onnx(beyond_float16(), tmp_path / "model.onnx", images, precisions=("float16",))
    assert list(tmp_path.iterdir()) == []


def test_the_artefacts_of_a_version_are_described(
    model: keras.Model, images: Pixels, tmp_path: Path
) -> None:
    alone = export_artefacts(model, tmp_path / "alone", images, keras=False)
    both = export_artefacts(model, tmp_path / "both", images, keras=True)
    assert [path.name for path in (tmp_path / "alone").iterdir()] == ["model.onnx"]
    assert set(alone) == {"onnx"}
    assert set(both) == {"onnx", "keras"}
    (tmp_path / "both/card.json").write_text(json.dumps({"artefacts": both}))
    version = ModelVersion("both", 1, tmp_path / "both")
    for kind in both:
        assert version.artefact_path(kind).stat().st_size == both[kind]["bytes"]
    assert both["keras"]["parity"]["largest_difference"] == 0


def test_a_kept_keras_file_holds_batch_normalisation(images: Pixels, tmp_path: Path) -> None:
    built = normalised()
    export_keras(built, tmp_path / "model.keras", images)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for before, after in zip(built.get_weights(), loaded.get_weights(), strict=True):
        assert np.array_equal(before, after)


@pytest.mark.parametrize(
    ("equal", "difference", "kept"),
    [
        (100, 0.0, {"float32", "float16", "int8"}),
        (100, 2e-3, {"float16", "int8"}),
        (100, 0.3, {"int8"}),
        (99, 1e-6, {"int8"}),
        (97, 0.3, {"int8"}),
        (96, 0.3, set()),
        (100, float("nan"), set()),
    ],
)
def test_what_parity_tolerates(equal: int, difference: float, kept: set[str]) -> None:
    parity = Parity(100, equal, difference, difference)
    assert {name for name, allowed in TOLERANCES.items() if parity.within(allowed)} == kept


def test_parity_counts_labels_and_measures_probabilities() -> None:
    reference = np.array([[0.6, 0.4, 0, 0], [0.5, 0.5 - 1e-3, 0, 0]], dtype=np.float32)
    exported = np.array([[0.8, 0.2, 0, 0], [0.5 - 1e-3, 0.5, 0, 0]], dtype=np.float32)
    parity = Parity.between(reference, exported)
    assert (parity.images, parity.equal_labels) == (2, 1)
    assert parity.largest_difference == pytest.approx(0.2)
    assert parity.mean_difference == pytest.approx(0.402 / 8)


@pytest.mark.parametrize("build", [small_vgg, normalised])
def test_tflite_in_float32_answers_as_keras(build: object, images: Pixels, tmp_path: Path) -> None:
    written = export_tflite(build(), tmp_path / "model.tflite", images)  # type: ignore[operator]
    assert written["weights"] == "float32"
    assert written["parity"]["largest_difference"] < 1e-4


@pytest.mark.slow
def test_tflite_in_int8_computes_in_integers(model: keras.Model, tmp_path: Path) -> None:
    fields = drawn(LEAST_CALIBRATION_IMAGES)
    path = tmp_path / "int8.tflite"
    written = export_tflite(model, path, fields[:30], calibration=fields)
    full = export_tflite(model, tmp_path / "full.tflite", fields[:8])
    assert written["weights"] == "int8"
    assert written["bytes"] < 0.4 * full["bytes"]
    assert written["parity"]["equal_labels"] >= 0.97 * 30
    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (source["dtype"], target["dtype"]) == (np.uint8, np.float32)
    kinds = [np.dtype(tensor["dtype"]) for tensor in interpreter.get_tensor_details()]
    # The cast input and the probabilities are all that is left in float32.
    assert kinds.count(np.dtype(np.float32)) <= 2
    assert tflite_probabilities(path.read_bytes(), fields[:3]).shape == (3, 4)


def test_int8_needs_images_to_measure_its_ranges_on(
    model: keras.Model, images: Pixels, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match="there are 8"):
        export_tflite(model, tmp_path / "int8.tflite", images, calibration=images)
    assert list(tmp_path.iterdir()) == []


def graph_only(model: keras.Model, folder: Path, images: Pixels) -> ModelVersion:
    """A version that ships no `model.keras`."""
    artefacts = export_artefacts(model, folder, images, keras=False)
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
    assert np.abs(engine.predict(images) - graph).max() < 1e-5


def other_preprocessing() -> keras.Model:
    inputs = image_input()
    x = layers.Rescaling(1 / 255)(inputs)
    for _ in range(2):
        for _ in range(2):
            x = layers.Conv2D(32, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D(4)(x)
    return keras.Model(inputs, classify(x))


def test_only_plain_convolutions_and_dense_layers_are_rebuilt(model: keras.Model) -> None:
    assert rebuildable(model)
    assert rebuildable(small_vgg())
    assert not rebuildable(normalised())


@pytest.mark.parametrize(
    ("architecture", "fault"),
    [
        (lambda: small_vgg(filters=16), r"takes weights of"),
        (lambda: small_vgg(blocks=3), r"has 6 layers with weights.* has 8"),
        (normalised, "only a model.keras restores"),
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


@pytest.mark.slow
@pytest.mark.dataset
def test_every_format_keeps_parity_on_real_images(
    dataset: Path, model: keras.Model, tmp_path: Path
) -> None:
    files = [path for folder in sorted(dataset.iterdir()) for path in sorted(folder.iterdir())[:40]]
    fields = np.stack([load_model_input(path, max_pixels=DEFAULT_MAX_PIXELS) for path in files])
    half = export_onnx(model, tmp_path / "model.onnx", fields)
    small = export_tflite(model, tmp_path / "model.tflite", fields)
    smallest = export_tflite(model, tmp_path / "int8.tflite", fields, calibration=fields)
    assert (half["weights"], half["parity"]["equal_labels"]) == ("float16", len(fields))
    assert small["parity"]["equal_labels"] == len(fields)
    assert smallest["parity"]["equal_labels"] >= 0.97 * len(fields)
