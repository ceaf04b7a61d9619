"""A version as a Keras model: out of its `model.keras`, or rebuilt from its ONNX graph.

VGG16 as `.keras` is too large for the repository, so such a version ships its graph alone. OpenVINO
reads that graph: every image of the worker has it, and none has the package `onnx`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

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
_LAYOUTS: dict[type, tuple[int, ...]] = {
    layers.Conv2D: (2, 3, 1, 0),
    layers.DepthwiseConv2D: (1, 2, 0, 3),
    layers.Dense: (0, 1),
}
"""How Keras lays out the axes of a graph's kernel."""

_LARGEST_DIFFERENCE = 1e-2
"""Of a probability. A wrong weight shows far above it, TensorFloat-32 on a GPU below."""


class _Unit(NamedTuple):
    """A layer with the batch normalisation that follows it, if one does."""

    layer: keras.Layer
    normalisation: keras.Layer | None = None


class _Stored(NamedTuple):
    """What a graph holds for a unit."""

    kernel: Floats
    scale: Floats | None
    bias: Floats | None


def restored_from(version: ModelVersion) -> Literal["keras", "onnx"]:
    """The kind of artefact that `restore_keras` takes a version from."""
    return "keras" if "keras" in version.card["artefacts"] else "onnx"


def restore_keras(version: ModelVersion) -> keras.Model:
    """Load a version's `model.keras`; without one, build its architecture and fill it from ONNX.

    A graph holds batch normalisation merged into the layer before it: the rebuilt network gives the
    same, from other weights.

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


def _units(model: keras.Model) -> list[_Unit]:
    """The layers that hold weights, in the order of the data."""
    units: list[_Unit] = []
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization) and units:
            units[-1] = _Unit(units[-1].layer, layer)
        elif layer.weights:
            units.append(_Unit(layer))
    return units


def _fill(model: keras.Model, version: ModelVersion) -> None:
    units = _units(model)
    if not all(type(unit.layer) in _LAYOUTS for unit in units):
        raise ModelArtefactError(f"{version} has layers that only a model.keras restores.")
    stored = list(_stored_weights(version.artefact_path("onnx")))
    if len(stored) != len(units):
        raise ModelArtefactError(
            f"The graph of {version} has {len(stored)} layers with weights, "
            f"{model.name} has {len(units)}."
        )
    for unit, found in zip(units, stored, strict=True):
        _fill_unit(unit, found, version)


def _fill_unit(unit: _Unit, found: _Stored, version: ModelVersion) -> None:
    layer, normalisation = unit.layer, unit.normalisation
    kernel = found.kernel.transpose(_LAYOUTS[type(layer)])
    # A bias of zeros, or a scale of ones, is left out of a graph when it is exported.
    outputs = layer.output.shape[-1]
    bias = np.zeros(outputs, np.float32) if found.bias is None else found.bias
    scale = np.ones(outputs, np.float32) if found.scale is None else found.scale
    weights = [kernel, bias] if layer.use_bias else [kernel]
    expected = [tuple(weight.shape) for weight in layer.weights]
    if [values.shape for values in weights] != expected:
        raise ModelArtefactError(
            f"{layer.name} of {version} takes weights of {expected}; its graph has "
            f"{[values.shape for values in weights]}."
        )
    layer.set_weights(weights)
    if normalisation is not None:
        spread = np.sqrt(np.float32(1 + normalisation.epsilon))
        zeros, ones = np.zeros_like(bias), np.ones_like(bias)
        normalisation.set_weights([scale * spread, bias, zeros, ones])


def _stored_weights(path: Path) -> Iterator[_Stored]:
    """The weights of each convolution and dense layer, as the graph lays them out."""
    for node in ov.Core().read_model(path).get_ordered_ops():
        kind = node.get_type_name()
        if kind not in ("Convolution", "GroupConvolution", "MatMul"):
            continue
        kernel = _constant(node.input_value(1).get_node())
        if kernel is None:
            continue
        if kind == "GroupConvolution":
            kernel = kernel.reshape(-1, *kernel.shape[-2:], 1)
        elif kind == "MatMul" and node.get_attributes()["transpose_b"]:
            kernel = kernel.T
        scale, behind = _operand(node, "Multiply")
        bias, _ = _operand(behind, "Add")
        yield _Stored(kernel, scale, bias)


def _operand(node: ov.Node, kind: str) -> tuple[Floats | None, ov.Node]:
    """The constant that is multiplied with or added to a node's output, and the node that does."""
    for target in node.output(0).get_target_inputs():
        following = target.get_node()
        if following.get_type_name() == kind:
            values = _constant(following.input_value(1).get_node())
            if values is not None:
                return values.ravel(), following
    return None, node


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
    graph = OpenVINOEngine(version).predict(images).probabilities
    difference = float(np.abs(graph - np.asarray(model(images, training=False))).max())
    if not difference <= _LARGEST_DIFFERENCE:
        raise ModelArtefactError(
            f"{version} rebuilt from its graph differs from it by {difference:.2e}."
        )
