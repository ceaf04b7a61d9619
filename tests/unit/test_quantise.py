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
from shared.models.registry import ModelRegistry, ModelVersion
from shared.settings import InferenceSettings
from tests.networks import drawn, small_vgg


def test_a_graph_with_an_input_that_leads_nowhere_has_an_int8_form(tmp_path: Path) -> None:
    """VGG16's preprocessing leaves one, where the graph is read from a file."""
    path = tmp_path / "model.onnx"
    onnx.save(to_onnx(small_vgg(blocks=1)), path)
    assert len(ov.Core().read_model(path).inputs) == 2
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    artefacts = {"onnx": {"file": path.name, "sha256": sha256}}
    card = {"artefacts": artefacts, "calibration": {"temperature": 1.0}}
    (tmp_path / "card.json").write_text(json.dumps(card))
    images = drawn(4)
    made = quantise(ModelVersion("vgg", 1, tmp_path), images, images, np.zeros(4, np.int64))
    version = ModelVersion("vgg", 1, tmp_path)
    version.card["artefacts"].update(made)
    full, lower = (
        OpenVINOEngine(version, precision=p).predict(images).probabilities for p in ("f32", "int8")
    )
    assert lower.shape == (4, 4)
    assert np.abs(lower - full).max() < 0.1


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
