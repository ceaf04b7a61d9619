"""Temperature scaling, applied here and nowhere else.

Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def apply_temperature(
    probabilities: NDArray[np.float32], temperature: float
) -> NDArray[np.float64]:
    """Calibrate softmax outputs: softmax(log(p) / temperature).

    Args:
        probabilities: Raw softmax, shape (n, 4), rows sum to 1.
        temperature: Positive; above 1 softens, below 1 sharpens, 1 changes nothing.

    Returns:
        Calibrated probabilities, shape (n, 4), rows sum to 1. The order of the classes in a row
        never changes.

    Raises:
        ValueError: The temperature is not positive.
    """
    if not temperature > 0:
        raise ValueError(f"expected a positive temperature, received: {temperature}")
    # The smallest float32 stands for log(0); it is finite, so that a row never becomes NaN.
    logits = np.log(np.maximum(probabilities.astype(np.float64), np.finfo(np.float32).tiny))
    scaled = logits / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    exponentials = np.exp(scaled)
    calibrated: NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return calibrated
