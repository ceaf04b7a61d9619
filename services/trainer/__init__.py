"""The trainer: data set versions, splits, training, evaluation and export."""

import sys

# NNCF tells its makers of each use, by the internet, where it finds this package.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
