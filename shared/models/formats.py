"""The formats that a version can be exported as; importing it loads no TensorFlow."""

from __future__ import annotations

from enum import StrEnum


class Format(StrEnum):
    """A file format with the precision of its weights."""

    KERAS = "keras"
    ONNX = "onnx"
    ONNX_F16 = "onnx-f16"
    TFLITE = "tflite"
    TFLITE_INT8 = "tflite-int8"
