"""The CPU engine: OpenVINO on the exported ONNX graph, or on its int8 form."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from shared.cores import usable_cores
from shared.imaging import Pixels
from shared.models.engines import OnBegun
from shared.models.engines.outputs import Outputs
from shared.models.engines.processor import sums_int8_exactly
from shared.models.gradcam import Head
from shared.models.precision import FULL, Precision
from shared.models.registry import ModelVersion
from shared.settings import EngineName, InferenceSettings
from shared.triage.labels import LABELS

GRAPH = "onnx"
INT8_GRAPH = "openvino_int8"
INT8_WEIGHTS = "openvino_int8_weights"
"""Kinds of artefacts: an int8 form is a graph in one file and its weights in another."""

_DEVICE = "CPU"
_NAME = "FULL_DEVICE_NAME"
_STREAMS = 2
"""Images in work at once, each on its share of the cores. One on all of them would wait, layer by
layer, for whichever core has something else to do; and a call of many images computes no faster on
a CPU, but holds the activations of all."""
_DENSE, _DENSE_OF_HEAD = "MatMul", 2
_POOLING = "ReduceMean"
_GRID_AXES = 3
_CAPABILITIES: dict[Precision, str] = {"f32": "FP32", "bf16": "BF16", "int8": "INT8"}


class OpenVINOEngine:
    """See `shared.models.engines.Engine`."""

    name: EngineName = "openvino"

    def __init__(
        self,
        version: ModelVersion,
        *,
        threads: int = 0,
        precision: Precision = FULL,
        maps: bool = False,
    ) -> None:
        """Compile a version's graph.

        Args:
            version: The version.
            threads: Of the engine; 0 takes all cores.
            precision: What its convolutions compute in; always stated, since OpenVINO would take
                bfloat16 where the processor has it.
            maps: Give the last feature map too.

        Raises:
            ValueError: Maps were asked for in a lower precision.
        """
        if maps and precision != FULL:
            raise ValueError(f"expected {FULL} with maps, received: {precision}")
        self.precision = precision
        core = ov.Core()
        self.build = f"openvino {ov.__version__} on {core.get_property(_DEVICE, _NAME)}"
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
            "NUM_STREAMS": str(min(_STREAMS, threads or usable_cores())),
        }
        if threads:
            properties["INFERENCE_NUM_THREADS"] = str(threads)
        features = _head(graph)[0].input_value(0)
        self._width = features.get_partial_shape()[1].get_length()
        self.head = _weights(graph) if maps else None
        graph.add_outputs([features, _map(features)] if maps else [features])
        self._compiled = core.compile_model(graph, _DEVICE, properties)
        # As many again as compute at once: when one is done, the next has its image already.
        self._at_once = 2 * self._compiled.get_property("NUM_STREAMS")
        self._idle: list[list[ov.InferRequest]] = []

    def predict(self, images: Pixels, on_begun: OnBegun = None) -> Outputs:
        """See `Engine.predict`.

        Without a callback: one in Python would be called by OpenVINO's own threads, which end a
        process that is ending, and would be held by OpenVINO, and the engine with it, for ever.
        """
        answers = _Answers(len(images), self._width, maps=self.head is not None)
        with self._requests() as requests:
            for index, image in enumerate(images):
                request = requests[index % self._at_once]
                if index >= self._at_once:
                    answers.keep(index - self._at_once, request)
                request.start_async({0: image[np.newaxis]})
            if on_begun is not None:
                on_begun()
            for index in range(max(0, len(images) - self._at_once), len(images)):
                answers.keep(index, requests[index % self._at_once])
        return answers.outputs()

    @contextmanager
    def _requests(self) -> Iterator[list[ov.InferRequest]]:
        """Requests of a call's own; what is in work of them ends before another call has them."""
        try:
            requests = self._idle.pop()
        except IndexError:
            requests = [self._compiled.create_infer_request() for _ in range(self._at_once)]
        try:
            yield requests
        except BaseException:
            for request in requests:
                with suppress(Exception):
                    request.wait()
            raise
        finally:
            self._idle.append(requests)


class _Answers:
    """What the requests of one call have answered."""

    def __init__(self, count: int, width: int, *, maps: bool) -> None:
        # A row that nothing is written to must not be taken for a result.
        self._probabilities = np.full((count, len(LABELS)), np.nan, np.float32)
        self._features = np.full((count, width), np.nan, np.float32)
        self._maps: list[NDArray[np.float32]] | None = [] if maps else None

    def keep(self, index: int, request: ov.InferRequest) -> None:
        """Copy what a request answers to the image of that index, the next in order."""
        request.wait()
        self._probabilities[index] = request.get_output_tensor(0).data[0]
        self._features[index] = request.get_output_tensor(1).data[0]
        if self._maps is not None:
            self._maps.append(_positions_first(request.get_output_tensor(2).data[0]))

    def outputs(self) -> Outputs:
        """All of it, in the order of the images."""
        maps = np.stack(self._maps) if self._maps else None
        return Outputs(self._probabilities, self._features, maps)


def _head(graph: ov.Model) -> list[ov.Node]:
    """The two dense layers that classify the features."""
    dense = [node for node in graph.get_ordered_ops() if node.get_type_name() == _DENSE]
    return dense[-_DENSE_OF_HEAD:]


def _map(features: ov.Output) -> ov.Output:
    """What was averaged to the features: shape (n, d, h, w), or (n, positions, d)."""
    node = features.get_node()
    while node.get_type_name() != _POOLING:
        node = node.input_value(0).get_node()
    return node.input_value(0)


def _positions_first(one: NDArray[np.float32]) -> NDArray[np.float32]:
    """A map of shape (d, h, w), or (positions, d) of a square grid, as a copy of (h, w, d)."""
    if one.ndim == _GRID_AXES:
        return np.moveaxis(one, 0, -1).copy()
    side = math.isqrt(len(one))
    return one.reshape(side, side, -1).copy()


def _weights(graph: ov.Model) -> Head:
    """The head's weights."""
    hidden, scores = _head(graph)
    weights = _constant(hidden.input_value(1))
    behind = [consumer.get_node() for consumer in hidden.output(0).get_target_inputs()]
    # A bias of zeros is left out when a graph is exported.
    biases = [_constant(node.input_value(1)) for node in behind if node.get_type_name() == "Add"]
    return Head(
        hidden=weights,
        hidden_bias=biases[0].ravel() if biases else np.zeros(weights.shape[1], np.float32),
        scores=_constant(scores.input_value(1)),
    )


def _constant(value: ov.Output) -> NDArray[np.float32]:
    """The numbers of a constant, which may be stored in float16, or in another shape."""
    node = value.get_node()
    while node.get_type_name() != "Constant":
        node = node.input_value(0).get_node()
    return np.array(node.data, dtype=np.float32)


def create(
    version: ModelVersion, settings: InferenceSettings, precision: Precision, *, maps: bool
) -> OpenVINOEngine:
    """Load a version; `inference_threads` of 0 takes all cores."""
    threads = settings.inference_threads
    return OpenVINOEngine(version, threads=threads, precision=precision, maps=maps)


def supported_precisions() -> Collection[Precision]:
    """See `shared.models.engines.supported_precisions`."""
    capabilities = set(ov.Core().get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES"))
    if not sums_int8_exactly():
        capabilities.discard(_CAPABILITIES["int8"])  # OpenVINO names it on every processor
    return [precision for precision, name in _CAPABILITIES.items() if name in capabilities]
