"""Makes copies of a version whose weights are shuffled: they have learned nothing.

An explanation that stays the same for such a copy explains the image, and not the model.

Source: Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018 (arXiv 1810.03292).
"""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from shared.models.engines.openvino_engine import GRAPH
from shared.models.registry import CARD, ModelVersion

_DENSE, _DENSE_OF_HEAD = "MatMul", 2


class Scope(StrEnum):
    """Which weights are shuffled."""

    HEAD = "head"
    """The two dense layers behind the pooled feature map."""
    ALL = "all"
    """Those and every convolution."""


def randomised(version: ModelVersion, folder: Path, scope: Scope, seed: int) -> ModelVersion:
    """Copy a version with shuffled weights into another registry.

    Each kernel keeps its shape and its values, in another order; biases and what is left of batch
    normalisation stay. Of an ensemble all members are copied so.

    Args:
        version: The version.
        folder: The other registry.
        scope: Which weights.
        seed: Of the order; versions of one seed have different ones.

    Returns:
        The copy, with its calibration, and without what else an explanation does not need.

    Raises:
        ModelArtefactError: An artefact is missing or altered.
    """
    for member in version.members:
        randomised(member.version, folder, scope, seed)
    copy = ModelVersion(version.name, version.version, folder / version.name / str(version.version))
    copy.folder.mkdir(parents=True)
    artefacts = {}
    if not version.members:
        graph = onnx.load(version.artefact_path(GRAPH))
        shuffle_weights(graph, scope, np.random.default_rng([seed, version.version]))
        data = graph.SerializeToString()
        file = copy.folder / version.card["artefacts"][GRAPH]["file"]
        file.write_bytes(data)
        artefacts[GRAPH] = {"file": file.name, "sha256": hashlib.sha256(data).hexdigest()}
    (copy.folder / CARD).write_text(json.dumps({**version.card, "artefacts": artefacts}))
    return copy


def shuffle_weights(graph: onnx.ModelProto, scope: Scope, rng: np.random.Generator) -> None:
    """Shuffle the values of each kernel of a graph among themselves, in place."""
    head = _kernels_of_head(graph)
    for initializer in graph.graph.initializer:
        in_scope = _is_kernel(initializer) if scope is Scope.ALL else initializer.name in head
        if in_scope:
            values = numpy_helper.to_array(initializer)
            mixed = rng.permuted(values)
            initializer.CopyFrom(numpy_helper.from_array(mixed, initializer.name))


def _is_kernel(initializer: onnx.TensorProto) -> bool:
    """Scales and shifts of batch normalisation have one axis longer than 1, whatever their rank."""
    return len([length for length in initializer.dims if length > 1]) > 1


def _kernels_of_head(graph: onnx.ModelProto) -> set[str]:
    nodes = graph.graph.node
    # Behind an initializer in float16 stands a Cast, see `services.trainer.onnx_weights`.
    stored = {node.output[0]: node.input[0] for node in nodes if node.op_type == "Cast"}
    dense = [node.input[1] for node in nodes if node.op_type == _DENSE][-_DENSE_OF_HEAD:]
    return {stored.get(name, name) for name in dense}
