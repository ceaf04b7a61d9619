"""The CPU engine: OpenVINO on the exported ONNX graph, or on its int8 form."""

from __future__ import annotations

import os
from collections.abc import Collection

import numpy as np
import openvino as ov

from shared.imaging import Pixels
from shared.models.engines.outputs import Outputs
from shared.models.precision import FULL, Precision
from shared.models.registry import ModelVersion
from shared.settings import EngineName, InferenceSettings
from shared.triage.labels import LABELS

GRAPH = "onnx"
INT8_GRAPH = "openvino_int8"
INT8_WEIGHTS = "openvino_int8_weights"
"""Kinds of artefacts: an int8 form is a graph in one file and its weights in another."""

_DEVICE = "CPU"
_STREAMS = 2
"""Images in work at once, each on its share of the cores. One on all of them would wait, layer by
layer, for whichever core has something else to do; and a call of many images computes no faster on
a CPU, but holds the activations of all."""
_DENSE, _DENSE_OF_HEAD = "MatMul", 2
_CAPABILITIES: dict[Precision, str] = {"f32": "FP32", "bf16": "BF16", "int8": "INT8"}


class OpenVINOEngine:
    """See `shared.models.engines.Engine`."""

    name: EngineName = "openvino"

    def __init__(
        self, version: ModelVersion, *, threads: int = 0, precision: Precision = FULL
    ) -> None:
        """Compile a version's graph.

        Args:
            version: The version.
            threads: Of the engine; 0 takes all cores.
            precision: What its convolutions compute in; always stated, since OpenVINO would take
                bfloat16 where the processor has it.
        """
        self.precision = precision
        core = ov.Core()
        if precision == "int8":
            path = version.artefact_path(INT8_GRAPH)
            graph = core.read_model(path, version.artefact_path(INT8_WEIGHTS))
            self.artefact_sha256 = version.sha256(INT8_WEIGHTS)
        else:
            graph = core.read_model(version.artefact_path(GRAPH))
            self.artefact_sha256 = version.sha256(GRAPH)
        properties = {
            # What an int8 graph leaves in floating point stays float32.
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else FULL,
            "PERFORMANCE_HINT": "THROUGHPUT",
            "NUM_STREAMS": str(min(_STREAMS, threads or os.cpu_count() or 1)),
        }
        if threads:
            properties["INFERENCE_NUM_THREADS"] = str(threads)
        features = _features(graph)
        self._width = features.get_partial_shape()[1].get_length()
        graph.add_outputs([features])
        self._requests = ov.AsyncInferQueue(core.compile_model(graph, _DEVICE, properties))

    def predict(self, images: Pixels) -> Outputs:
        """See `Engine.predict`."""
        probabilities = np.empty((len(images), len(LABELS)), np.float32)
        features = np.empty((len(images), self._width), np.float32)

        def keep(request: ov.InferRequest, index: int) -> None:
            probabilities[index] = request.get_output_tensor(0).data[0]
            features[index] = request.get_output_tensor(1).data[0]

        self._requests.set_callback(keep)
        for index, image in enumerate(images):
            self._requests.start_async({0: image[np.newaxis]}, index)
        self._requests.wait_all()
        return Outputs(probabilities, features)


def _features(graph: ov.Model) -> ov.Output:
    """What the head classifies: the input of the first of its two dense layers."""
    dense = [node for node in graph.get_ordered_ops() if node.get_type_name() == _DENSE]
    return dense[-_DENSE_OF_HEAD:][0].input_value(0)


def create(
    version: ModelVersion, settings: InferenceSettings, precision: Precision
) -> OpenVINOEngine:
    """Load a version; `inference_threads` of 0 takes all cores."""
    return OpenVINOEngine(version, threads=settings.inference_threads, precision=precision)


def supported_precisions() -> Collection[Precision]:
    """See `shared.models.engines.supported_precisions`."""
    capabilities = ov.Core().get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES")
    return [precision for precision, name in _CAPABILITIES.items() if name in capabilities]
