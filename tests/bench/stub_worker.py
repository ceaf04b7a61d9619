"""The real worker around an engine that takes half a millisecond an image and looks at none.

What a service with it carries is what the pipeline carries around a model on a fast GPU. A slower
one, by `HEMOTRIAGE_BENCH_STUB_RATE`, stands for a worker on a machine of its own.
"""

from __future__ import annotations

import os
import sys
import time

import numpy as np

from services.worker.main import main
from shared.imaging import Pixels
from shared.models import predictor
from shared.models.engines import OnBegun
from shared.models.engines.outputs import Outputs
from shared.models.precision import FULL

STUB_RATE = 2000.0
"""Images a second, unless told otherwise."""

_WIDTH = 128
"""Of the features of the model whose place the stub takes, `cnn_custom`."""

STUB_RATE_VARIABLE = "HEMOTRIAGE_BENCH_STUB_RATE"


class StubEngine:
    """Sleeps, and calls everything Benign."""

    name = "stub"
    precision = FULL
    artefact_sha256 = "0" * 64
    build = "stub"
    head = None

    def __init__(self) -> None:
        self._rate = float(os.environ.get(STUB_RATE_VARIABLE, STUB_RATE))

    def predict(self, images: Pixels, on_begun: OnBegun = None) -> Outputs:
        """See `shared.models.engines.Engine`."""
        del on_begun
        time.sleep(len(images) / self._rate)
        probabilities = np.array([[0.97, 0.01, 0.01, 0.01]], np.float32)
        return Outputs(
            np.tile(probabilities, (len(images), 1)), np.zeros((len(images), _WIDTH), np.float32)
        )


if __name__ == "__main__":
    predictor.create_engine = lambda *_, **__: StubEngine()  # type: ignore[assignment]
    sys.exit(main())
