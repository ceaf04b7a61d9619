"""A version as a Keras model: out of its `model.keras`, or rebuilt from its ONNX graph.

VGG16 as `.keras` is too large for the repository, so such a version ships its graph alone. OpenVINO
reads that graph: every image of the worker has it, and none has the package `onnx`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import keras
import numpy as np
import openvino as ov
from keras import layers
from numpy.typing import NDArray

from shared.errors import ModelArtefactError
from shared.imaging import INPUT_SIZE
from shared.models.architectures import build
from shared.models.engines.openvino_engine import OpenVINOEngine
from shared.models.registry import ModelVersion

Floats = NDArray[np.float32]
_HWIO_FROM_OIHW = (2, 3, 1, 0)
_LARGEST_DIFFERENCE = 1e-2
"""Of a probability. A wrong weight shows far above it, TensorFloat-32 on a GPU below."""


def restored_from(version: ModelVersion) -> Literal["keras", "onnx"]:
    """The kind of artefact that `restore_keras` takes a version from."""
    return "keras" if "keras" in version.card["artefacts"] else "onnx"


def restore_keras(version: ModelVersion) -> keras.Model:
    """Load a version's `model.keras`; without one, build its architecture and fill it from ONNX.

    What `rebuildable` refuses cannot be filled: batch normalisation, for one, is merged into
    other weights when a graph is exported.

    Raises:
        ModelArtefactError: An artefact is missing or altered, or the graph does not fit the
            architecture of the card.
        UnknownModelError: The card names no architecture of this release.
    """
    if restored_from(version) == "keras":
        return keras.models.load_model(version.artefact_path("keras"))
    model = build(version.card["architecture"])
    _fill(model, version)
    _check(model, version)
    return model


def rebuildable(model: keras.Model) -> bool:
    """Whether `restore_keras` does without a `model.keras`.

    It does where all weights are those of convolutions and dense layers.
    """
    return all(type(layer) in (layers.Conv2D, layers.Dense) for layer in _weighted(model))


def _weighted(model: keras.Model) -> list[keras.Layer]:
    return [layer for layer in model.layers if layer.weights]


def _fill(model: keras.Model, version: ModelVersion) -> None:
    if not rebuildable(model):
        raise ModelArtefactError(f"{version} has layers that only a model.keras restores.")
    weighted = _weighted(model)
    stored = list(_stored_weights(version.artefact_path("onnx")))
    if len(stored) != len(weighted):
        raise ModelArtefactError(
            f"The graph of {version} has {len(stored)} layers with weights, "
            f"{model.name} has {len(weighted)}."
        )
    for layer, (kernel, bias) in zip(weighted, stored, strict=True):
        weights = [kernel]
        if layer.use_bias:
            # A bias of zeros is left out of a graph when it is exported.
            weights.append(np.zeros(kernel.shape[-1], np.float32) if bias is None else bias)
        expected = [tuple(weight.shape) for weight in layer.weights]
        found = [values.shape for values in weights]
        if found != expected:
            raise ModelArtefactError(
                f"{layer.name} of {version} takes weights of {expected}; its graph has {found}."
            )
        layer.set_weights(weights)


def _stored_weights(path: Path) -> Iterator[tuple[Floats, Floats | None]]:
    """Kernel and bias, if any, of each convolution and dense layer, as Keras lays them out."""
    for node in ov.Core().read_model(path).get_ordered_ops():
        kind = node.get_type_name()
        if kind not in ("Convolution", "MatMul"):
            continue
        kernel = _constant(node.input_value(1).get_node())
        if kernel is None:
            continue
        if kind == "Convolution":
            kernel = kernel.transpose(_HWIO_FROM_OIHW)
        elif node.get_attributes()["transpose_b"]:
            kernel = kernel.T
        yield kernel, _bias(node)


def _bias(node: ov.Node) -> Floats | None:
    for target in node.output(0).get_target_inputs():
        following = target.get_node()
        if following.get_type_name() == "Add":
            bias = _constant(following.input_value(1).get_node())
            return None if bias is None else bias.ravel()
    return None


def _constant(node: ov.Node) -> Floats | None:
    """The constant behind a node that only casts or reshapes it."""
    while node.get_type_name() in ("Convert", "Reshape"):
        node = node.input_value(0).get_node()
    if node.get_type_name() != "Constant":
        return None
    return np.array(node.data, dtype=np.float32)


def _check(model: keras.Model, version: ModelVersion) -> None:
    """Shapes do not tell two equal layers apart, nor one preprocessing from another."""
    shape = (2, INPUT_SIZE, INPUT_SIZE, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    graph = OpenVINOEngine(version, threads=0).predict(images)
    difference = float(np.abs(graph - np.asarray(model(images, training=False))).max())
    if not difference <= _LARGEST_DIFFERENCE:
        raise ModelArtefactError(
            f"{version} rebuilt from its graph differs from it by {difference:.2e}."
        )
