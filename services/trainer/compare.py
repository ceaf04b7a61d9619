"""Compares models that looked at the same images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from services.trainer.metrics import Labels, proportion


def compare(labels: Labels, predictions: Mapping[str, NDArray[np.int64]]) -> dict[str, Any]:
    """Test each model against the most accurate one.

    Args:
        labels: True class indices, shape (n,).
        predictions: Predicted class indices of each model by its name, shape (n,).

    Returns:
        `images`, `best` (of equals, the one named first), `all_wrong` (images that no model gets
        right) and, by name, `models`: `accuracy` and `against_best`, which is McNemar's test, not
        corrected for the number of models, and None for the best itself.

    Raises:
        ValueError: There is no model.
    """
    correct = {name: predicted == labels for name, predicted in predictions.items()}
    best = max(correct, key=lambda name: int(correct[name].sum()))
    return {
        "images": len(labels),
        "best": best,
        "all_wrong": int((~np.any(list(correct.values()), axis=0)).sum()),
        "models": {
            name: {
                "accuracy": proportion(int(right.sum()), len(labels)),
                "against_best": None if name == best else mcnemar(right, correct[best]),
            }
            for name, right in correct.items()
        },
    }


def mcnemar(correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_]) -> dict[str, Any]:
    """McNemar's exact two-sided test of two models on the same images.

    Args:
        correct_a: Whether the first model is right, shape (n,).
        correct_b: Whether the second one is.

    Returns:
        `only_a` and `only_b`, the images that just one of them gets right, and `p`: how likely so
        uneven a share of these is for models that err equally often.

    Source: McNemar 1947, Psychometrika 12:153; Dietterich 1998, Neural Comput. 10:1895.
    """
    only_a = int((correct_a & ~correct_b).sum())
    only_b = int((correct_b & ~correct_a).sum())
    p = float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    return {"only_a": only_a, "only_b": only_b, "p": p}
