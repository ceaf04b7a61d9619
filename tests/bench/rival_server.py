"""LitServe around the same Keras model: `python -m tests.bench.rival_server MODEL PORT`."""

# FastAPI reads the annotation of `decode_request` itself: they are not postponed here.
import io
import sys
from typing import Any

import litserve
import numpy as np
from fastapi import UploadFile

from shared.imaging import Pixels
from shared.imaging.decode import decode_image, to_model_input
from shared.models.registry import ModelRegistry
from shared.settings import InferenceSettings
from shared.triage.labels import LABELS

_BATCH = 16
_BATCH_SECONDS = 0.005


class Rival(litserve.LitAPI):  # type: ignore[misc]
    """Stores nothing, decides nothing: decodes, predicts, answers."""

    def __init__(self, model: str) -> None:
        super().__init__(max_batch_size=_BATCH, batch_timeout=_BATCH_SECONDS)
        self._name = model

    def setup(self, device: str) -> None:
        """Load the model in the process that runs it."""
        del device
        from shared.models.engines.tensorflow_engine import TensorFlowEngine  # noqa: PLC0415

        version = ModelRegistry(InferenceSettings().models_dir).resolve(self._name)
        self._engine = TensorFlowEngine(version)
        self._engine.predict(np.zeros((_BATCH, 224, 224, 3), np.uint8))

    def decode_request(self, request: UploadFile) -> Pixels:
        """The pixels of the field `request` of a form."""
        decoded = decode_image(io.BytesIO(request.file.read()), max_pixels=10**7)
        return to_model_input(decoded.image)

    def batch(self, inputs: list[Pixels]) -> Pixels:
        """Join what waits."""
        return np.stack(inputs)

    def predict(self, batch: Pixels) -> np.ndarray:
        """Probabilities of a batch."""
        return self._engine.predict(batch).probabilities

    def unbatch(self, output: np.ndarray) -> list[np.ndarray]:
        """A row a request."""
        return list(output)

    def encode_response(self, output: np.ndarray) -> dict[str, Any]:
        """Probabilities by label."""
        return {str(label): float(p) for label, p in zip(LABELS, output, strict=True)}


if __name__ == "__main__":
    server = litserve.LitServer(Rival(sys.argv[1]), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False)
