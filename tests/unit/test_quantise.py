"""The int8 form of a graph, and the engine that runs it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import openvino as ov
import pytest

from services.trainer.onnx_graph import to_onnx
from services.trainer.quantise import quantise
from shared.models.engines.openvino_engine import OpenVINOEngine
from shared.models.likeness import Gaussians, Likeness
from shared.models.registry import ModelRegistry, ModelVersion
from shared.settings import InferenceSettings
from tests.networks import drawn, small_vgg


@pytest.fixture
def version(tmp_path: Path) -> ModelVersion:
    """A small VGG16 with random weights, exported."""
    path = tmp_path / "model.onnx"
    onnx.save(to_onnx(small_vgg(blocks=1)), path)
    artefacts = {"onnx": described(path)}
    card = {"artefacts": artefacts, "calibration": {"temperature": 1.0}}
    (tmp_path / "card.json").write_text(json.dumps(card))
    return ModelVersion("vgg", 1, tmp_path)


def described(path: Path) -> dict[str, str]:
    return {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def around(row: np.ndarray, *, threshold: float) -> Gaussians:
    """Likeness by the distance to one row, in units of the threshold."""
    width = len(row)
    axes = np.eye(width, dtype=np.float32)
    return Gaussians(
        unit=np.array(False),
        mean=row.astype(np.float32),
        axes=axes,
        centres=np.zeros((4, width), np.float32),
        whitening=axes,
        rest=np.float32(0),
        threshold=np.float32(threshold),
    )


def int8_weights(version: ModelVersion) -> int:
    """How many layers' weights are stored in int8."""
    nodes = ov.Core().read_model(version.folder / "model.int8.xml").get_ordered_ops()
    constants = [node for node in nodes if node.get_type_name() == "Constant"]
    return sum(node.get_element_type() == ov.Type.i8 for node in constants)


def test_a_graph_with_an_input_that_leads_nowhere_has_an_int8_form(version: ModelVersion) -> None:
    """VGG16's preprocessing leaves one, where the graph is read from a file."""
    assert len(ov.Core().read_model(version.artefact_path("onnx")).inputs) == 2
    images, labels = drawn(4), np.zeros(4, np.int64)
    made = quantise(version, images, images, labels, InferenceSettings())
    assert int8_weights(version) == 2
    version.card["artefacts"].update(made)
    full, lower = (
        OpenVINOEngine(version, precision=p).predict(images).probabilities for p in ("f32", "int8")
    )
    assert lower.shape == (4, 4)
    assert np.abs(lower - full).max() < 0.1


def test_what_is_flagged_for_review_chooses_among_int8_forms(version: ModelVersion) -> None:
    images, labels = drawn(4), np.zeros(4, np.int64)
    seen = OpenVINOEngine(version).predict(images).features[0]
    likeness = Likeness(
        features=around(seen, threshold=1e-9), colours=around(np.zeros(21), threshold=1e9)
    )
    reference = version.folder / "reference.npz"
    np.savez(reference, **likeness.arrays())
    version.card["artefacts"]["reference"] = described(reference)
    quantise(version, images, images, labels, InferenceSettings())
    assert int8_weights(version) == 1, "in int8 the first image is no more like itself"


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_images_in_work_at_once_are_answered_in_their_order(threads: int) -> None:
    version = ModelRegistry(InferenceSettings().models_dir).resolve("student@2")
    engine = OpenVINOEngine(version, threads=threads)
    images = drawn(9)
    together = engine.predict(images)
    one_by_one = [engine.predict(image[None]) for image in images]
    for name in ("probabilities", "features"):
        alone = np.concatenate([getattr(outputs, name) for outputs in one_by_one])
        assert np.unique(alone, axis=0).shape == alone.shape, "they differ, or order is no matter"
        assert np.abs(getattr(together, name) - alone).max() < 1e-4
    assert engine.predict(images[:0]).probabilities.shape == (0, 4)
