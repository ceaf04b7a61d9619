"""What every engine gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Outputs:
    """What a network says of a batch of n images."""

    probabilities: NDArray[np.float32]
    """Softmax, shape (n, 4)."""
    features: NDArray[np.float32]
    """What the network's head classifies: the pooled feature map, shape (n, d)."""
    maps: NDArray[np.float32] | None = None
    """The feature map before it is pooled, shape (n, h, w, d); of an engine that gives maps."""
