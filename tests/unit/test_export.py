"""What is exported answers as Keras does, and what does not is not written."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter

from services.trainer.export import export_keras, export_onnx, onnx_probabilities
from services.trainer.onnx_weights import LEAST_ELEMENTS
from services.trainer.parity import TOLERANCES, Parity
from services.trainer.tflite import LEAST_CALIBRATION_IMAGES, export_tflite, tflite_probabilities
from shared.errors import DatasetError, ModelArtefactError
from shared.imaging import Pixels
from shared.imaging.decode import load_model_input
from shared.models.registry import ModelRegistry, ModelVersion
from shared.settings import DEFAULT_MAX_PIXELS, InferenceSettings
from tests.networks import beyond_float16, drawn, normalised, small_vgg


@pytest.fixture(scope="module")
def images() -> Pixels:
    return drawn(8)


@pytest.fixture(scope="module")
def champion() -> ModelVersion:
    return ModelRegistry(InferenceSettings().models_dir).resolve("cnn_custom@1")


@pytest.fixture(scope="module")
def model(champion: ModelVersion) -> keras.Model:
    return keras.models.load_model(champion.artefact_path("keras"))


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


def test_an_artefact_is_described(model: keras.Model, images: Pixels, tmp_path: Path) -> None:
    artefacts = {
        "onnx": export_onnx(model, tmp_path / "model.onnx", images),
        "keras": export_keras(model, tmp_path / "model.keras", images),
    }
    (tmp_path / "card.json").write_text(json.dumps({"artefacts": artefacts}))
    version = ModelVersion("both", 1, tmp_path)
    for kind in artefacts:
        assert version.artefact_path(kind).stat().st_size == artefacts[kind]["bytes"]
    assert artefacts["keras"]["parity"]["largest_difference"] == 0


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


@pytest.mark.exhaustive
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


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.dataset
def test_every_format_keeps_parity_on_real_images(
    dataset: Path, model: keras.Model, tmp_path: Path
) -> None:
    files = [path for folder in sorted(dataset.iterdir()) for path in sorted(folder.iterdir())[:26]]
    fields = np.stack([load_model_input(path, max_pixels=DEFAULT_MAX_PIXELS) for path in files])
    half = export_onnx(model, tmp_path / "model.onnx", fields)
    small = export_tflite(model, tmp_path / "model.tflite", fields)
    smallest = export_tflite(model, tmp_path / "int8.tflite", fields, calibration=fields)
    assert (half["weights"], half["parity"]["equal_labels"]) == ("float16", len(fields))
    assert small["parity"]["equal_labels"] == len(fields)
    assert smallest["parity"]["equal_labels"] >= 0.97 * len(fields)
