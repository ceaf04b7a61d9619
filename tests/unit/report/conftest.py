"""Reports to make pages of."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from services.trainer.metrics import measure, proportion
from shared.models.prediction import Prediction
from shared.triage.wording.english import ENGLISH
from tests.unit.report.pages import LABELS, Report, probabilities


@pytest.fixture
def make_report() -> Callable[..., Report]:
    """Makes the report on eight images, two a class where nothing else is said."""

    def make(predicted: list[int], labels: NDArray[np.int64] = LABELS, name: str = "m") -> Report:
        calibrated = probabilities(predicted)
        reference = {
            "name": name, "version": 1, "sha256": "ab" * 32, "engine": "openvino",
            "precision": "f32",
        }  # fmt: skip
        wrong = {
            "file": "Early/<b>7</b>.png", "sha256": "cd" * 32, "true": "Early",
            "predicted": "Benign", "confidence": 0.97, "probabilities": {}, "urgency": "routine",
        }  # fmt: skip
        return {
            "model": reference,
            "members": [],
            "measured_on": {"dataset_version": "d" * 64, "counts": {"Benign": 2}},
            "metrics": measure(labels, Prediction(calibrated.astype(np.float32), calibrated)),
            "errors": [wrong] * int((calibrated.argmax(axis=1) != labels).sum()),
            "cost": {
                "parameters": 127_300, "artefact_bytes": 513_651, "engine": "openvino",
                "precision": "f32",
                "speed": {"images_per_second": 251.26, "batch": 8, "runs": 7, "cores": 2},
            },
            "code": {"package": "0.1.0", "commit": "e" * 40 + "-dirty"},
            "card": {
                "limits": ENGLISH.limits,
                "colour_baseline": {"method": "a forest", "accuracy": proportion(504, 516)},
            },
        }  # fmt: skip

    return make
