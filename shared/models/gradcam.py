"""Grad-CAM: where in an image the evidence for a class lies, without automatic differentiation.

Every architecture ends in the same head: the last feature map is averaged over its positions, and
two dense layers classify the mean. So the gradient of a class' score with respect to the map is one
vector for all positions, and follows from the head's weights by hand.

Source: Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization, ICCV 2017 (arXiv 1610.02391); the score is the one before the softmax.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.imaging import INPUT_SIZE

Labels = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Head:
    """The two dense layers behind the pooled feature map of d channels."""

    hidden: NDArray[np.float32]
    """Weights of the first, shape (d, 256)."""
    hidden_bias: NDArray[np.float32]
    """Shape (256,); its activation is swish, z * sigmoid(z)."""
    scores: NDArray[np.float32]
    """Weights of the second, shape (256, 4); the softmax stands behind it."""

    def gradient(self, features: NDArray[np.float32], labels: Labels) -> NDArray[np.float32]:
        """How the score of a class changes with the pooled features.

        Args:
            features: Shape (n, d).
            labels: Index of the class of each, shape (n,).

        Returns:
            Shape (n, d).
        """
        z = features @ self.hidden + self.hidden_bias
        sigmoid = 1 / (1 + np.exp(-z))
        slope = sigmoid * (1 + z * (1 - sigmoid))
        gradient: NDArray[np.float32] = (self.scores.T[labels] * slope) @ self.hidden.T
        return gradient


def grad_cam(
    maps: NDArray[np.float32], features: NDArray[np.float32], labels: Labels, head: Head
) -> NDArray[np.float32]:
    """Grad-CAM at the resolution of the last feature map.

    Args:
        maps: The last feature maps, shape (n, h, w, d).
        features: Their means, shape (n, d).
        labels: Index of the class to explain of each, shape (n,).
        head: What classifies the means.

    Returns:
        Shape (n, h, w), no value below zero.
    """
    positions = maps.shape[1] * maps.shape[2]
    weights = head.gradient(features, labels) / positions  # each has its part in the mean
    evidence: NDArray[np.float32] = np.einsum("nhwd,nd->nhw", maps, weights, optimize=True)
    return np.maximum(evidence, 0)


def enlarge(evidence: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bilinear interpolation to the size of the input; the largest value becomes 1.

    Args:
        evidence: Shape (n, h, w), no value below zero.

    Returns:
        Shape (n, 224, 224); what is zero everywhere stays so.
    """
    size = (INPUT_SIZE, INPUT_SIZE)
    enlarged = [
        np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BILINEAR))
        for one in evidence.astype(np.float32)
    ]
    return scaled(np.stack(enlarged))


def scaled(evidence: NDArray[np.float32]) -> NDArray[np.float32]:
    """Divide each map by its largest value.

    Args:
        evidence: Shape (..., h, w), no value below zero.

    Returns:
        The same shape, within [0, 1]; what is zero everywhere stays so.
    """
    largest = evidence.max(axis=(-2, -1), keepdims=True)
    ratio: NDArray[np.float32] = (evidence / np.where(largest > 0, largest, 1)).astype(np.float32)
    return ratio
