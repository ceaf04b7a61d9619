"""The CPU engine: OpenVINO on the exported ONNX graph, in float32."""

from __future__ import annotations

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from shared.imaging import Pixels
from shared.models.engines import FULL_PRECISION
from shared.models.registry import ModelVersion
from shared.settings import EngineName, InferenceSettings


class OpenVINOEngine:
    """See `shared.models.engines.Engine`."""

    name: EngineName = "openvino"
    precision = FULL_PRECISION

    def __init__(self, version: ModelVersion, *, threads: int) -> None:
        path = version.artefact_path("onnx")
        self.artefact_sha256 = version.sha256("onnx")
        properties = {
            "INFERENCE_PRECISION_HINT": FULL_PRECISION,
            # One batch at a time, on all threads: the batching thread is the only caller.
            "PERFORMANCE_HINT": "LATENCY",
        }
        if threads:
            properties["INFERENCE_NUM_THREADS"] = str(threads)
        compiled = ov.Core().compile_model(str(path), "CPU", properties)
        self._request = compiled.create_infer_request()

    def predict(self, images: Pixels) -> NDArray[np.float32]:
        """See `Engine.predict`."""
        outputs = self._request.infer({0: np.ascontiguousarray(images)})
        probabilities: NDArray[np.float32] = next(iter(outputs.values())).copy()
        return probabilities


def create(version: ModelVersion, settings: InferenceSettings) -> OpenVINOEngine:
    """Load a version; `inference_threads` of 0 takes all cores."""
    return OpenVINOEngine(version, threads=settings.inference_threads)
