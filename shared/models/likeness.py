"""How unlike its training images an image is: by what the network sees in it, and by its colours.

The network's own probabilities do not tell: it knows four classes, and calls a photograph one of
them. Two distances do, each in units of its threshold, of which the larger one counts:

- of the features that the head classifies. A network that was trained against the colour shortcut
  hardly sees the stain, and so does not see a foreign one;
- of the colours, which tell a foreign stain and a foreign camera.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.imaging import Pixels
from shared.imaging.colour import colour_statistics
from shared.models.registry import ModelVersion

Rows = NDArray[np.floating[Any]]

REFERENCE = "reference"
"""Kind of the artefact that holds a version's distances."""

FEATURES, COLOURS = "features", "colours"


@dataclass(frozen=True)
class Gaussians:
    """One Gaussian a class, of one shape, around the training images in a space of fewer axes.

    What an image has outside these axes counts too: its squared length, over the mean of the
    training images.

    Sources: Lee et al., A Simple Unified Framework for Detecting Out-of-Distribution Samples,
    NeurIPS 2018 (one shape for all classes); Wang et al., ViM, CVPR 2022 (the rest outside the
    axes); Mueller and Hein, Mahalanobis++, ICML 2025 (rows of length one).
    """

    unit: NDArray[np.bool_]
    """Whether rows are scaled to length one first; shape ()."""
    mean: NDArray[np.float32]
    """Shape (d,)."""
    axes: NDArray[np.float32]
    """Orthonormal, shape (d, k)."""
    centres: NDArray[np.float32]
    """Of the classes, along the axes; shape (4, k)."""
    whitening: NDArray[np.float32]
    """Turns the axes into ones along which the training images spread by 1; shape (k, k)."""
    rest: NDArray[np.float32]
    """Mean squared length outside the axes; 0 where the axes are all there are; shape ()."""
    threshold: NDArray[np.float32]
    """Distance above which an image is unlike the training images; shape ()."""

    def distance(self, rows: Rows) -> NDArray[np.float64]:
        """Squared distance to the nearest class, over the number of axes, plus the rest.

        Args:
            rows: Shape (n, d).

        Returns:
            Shape (n,); about 1 or 2 for a training image.
        """
        values = rows.astype(np.float64)
        if self.unit:
            values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
        values -= self.mean
        along = values @ self.axes
        apart = (along[:, np.newaxis] - self.centres) @ self.whitening
        distance: NDArray[np.float64] = (apart**2).sum(axis=2).min(axis=1) / along.shape[1]
        if self.rest > 0:
            outside = (values**2).sum(axis=1) - (along**2).sum(axis=1)
            distance += np.maximum(outside, 0) / self.rest
        return distance

    def unlikeness(self, rows: Rows) -> NDArray[np.float64]:
        """The distance in units of the threshold, shape (n,)."""
        ratio: NDArray[np.float64] = self.distance(rows) / float(self.threshold)
        return ratio


@dataclass(frozen=True)
class Likeness:
    """What a version knows of its training images; either part may be missing."""

    features: Gaussians | None = None
    colours: Gaussians | None = None

    @classmethod
    def of(cls, version: ModelVersion) -> Likeness:
        """Load a version's reference; nothing of it where the version has none.

        Raises:
            ModelArtefactError: The file is missing or altered.
        """
        if REFERENCE not in version.card["artefacts"]:
            return cls()
        with np.load(version.artefact_path(REFERENCE), allow_pickle=False) as stored:
            parts = {name: _read(stored, name) for name in (FEATURES, COLOURS)}
        return cls(**parts)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The same as the arrays of a `.npz`."""
        return {
            f"{part}.{field.name}": getattr(gaussians, field.name)
            for part, gaussians in ((FEATURES, self.features), (COLOURS, self.colours))
            if gaussians is not None
            for field in fields(Gaussians)
        }

    def of_features(self, features: Rows) -> NDArray[np.float64] | None:
        """Unlikeness by features of shape (n, d); None where this is not known."""
        return None if self.features is None else self.features.unlikeness(features)

    def of_colours(self, images: Pixels) -> NDArray[np.float64] | None:
        """Unlikeness by the colours of images of shape (n, 224, 224, 3), or None."""
        return None if self.colours is None else self.colours.unlikeness(colour_statistics(images))


def _read(stored: Any, part: str) -> Gaussians | None:
    if f"{part}.mean" not in stored:
        return None
    return Gaussians(**{field.name: stored[f"{part}.{field.name}"] for field in fields(Gaussians)})
