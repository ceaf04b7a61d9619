"""From Keras to ONNX."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import numpy as np
import onnx


def to_onnx(model: keras.Model) -> onnx.ModelProto:
    """The graph of a model of one input, which takes batches of any size."""
    shape, dtype = model.input.shape[1:], model.input.dtype
    # Keras exports only a graph that has run once.
    model(np.zeros((1, *shape), dtype=dtype), training=False)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        model.export(str(path), format="onnx", verbose=False)
        return onnx.load(path)
