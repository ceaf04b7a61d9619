"""Cases like this one: the training images that a version takes for the most similar.

Only their ids, their labels and their distances are here; the images stay in the training store.
An id is the beginning of an image's SHA-256: a file's name might name a patient.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.models.likeness import Rows
from shared.models.registry import ModelVersion

CASES = "cases"
"""Kind of the artefact that holds a version's training images in feature space."""

NEAREST = 5
"""Cases that a result names."""

ID_LENGTH = 16
"""Characters of the SHA-256 that are an id: 64 bits."""

SIMILAR = np.dtype([("id", f"U{ID_LENGTH}"), ("label", np.int8), ("distance", np.float64)])
"""One similar case: its id, the index of its label, its distance."""

Distances = NDArray[np.float32]
"""Of n images to each of a version's cases, shape (n, cases)."""


class Cases:
    """The training images of a version, along k axes of its features at length one."""

    def __init__(
        self,
        *,
        ids: NDArray[np.str_],
        labels: NDArray[np.int8],
        mean: NDArray[np.floating[Any]],
        axes: NDArray[np.floating[Any]],
        places: NDArray[np.floating[Any]],
        unit: NDArray[np.floating[Any]],
    ) -> None:
        """Take what `services.trainer.cases` has fitted.

        Args:
            ids: Of the images, each once, in ascending order, shape (n,).
            labels: Indices of their classes, shape (n,).
            mean: Of the features, shape (d,).
            axes: Orthonormal: those along which the images vary most, shape (d, k).
            places: Of the images along the axes, shape (n, k).
            unit: What counts as a distance of 1, shape ().
        """
        self.ids = ids
        self._labels = labels
        self._mean = mean.astype(np.float32)
        self._axes = axes.astype(np.float32)
        self._places = places.astype(np.float32)
        self._squares = (self._places**2).sum(axis=1)
        self._unit = np.float32(unit)

    @classmethod
    def of(cls, version: ModelVersion) -> Cases | None:
        """Load a version's cases; None where it has none.

        Raises:
            ModelArtefactError: The file is missing or altered.
        """
        if CASES not in version.card["artefacts"]:
            return None
        with np.load(version.artefact_path(CASES), allow_pickle=False) as stored:
            return cls(**stored)

    def are_those_of(self, other: Cases | None) -> bool:
        """Whether another version has the same training images."""
        return other is not None and np.array_equal(self.ids, other.ids)

    def distances(self, features: Rows) -> Distances:
        """How far images are from every case.

        Args:
            features: Shape (n, d).

        Returns:
            Euclidean distances; 1 is the median of what a training image is from the nearest of
            another group.
        """
        along = (at_length_one(features) - self._mean) @ self._axes
        squares = (along**2).sum(axis=1, keepdims=True) + self._squares
        apart: Distances = np.sqrt(np.maximum(squares - 2 * along @ self._places.T, 0))
        return apart / self._unit

    def nearest(self, distances: Distances) -> NDArray[np.void]:
        """The nearest cases, the nearest first.

        Args:
            distances: Of n images to every case.

        Returns:
            Of type `SIMILAR`, shape (n, 5); fewer where there are fewer cases.
        """
        found = min(NEAREST, len(self.ids))
        nearest = np.argpartition(distances, found - 1, axis=1)[:, :found]
        far = np.take_along_axis(distances, nearest, axis=1)
        order = np.argsort(far, axis=1, kind="stable")
        nearest = np.take_along_axis(nearest, order, axis=1)
        similar = np.empty(nearest.shape, SIMILAR)
        similar["id"], similar["label"] = self.ids[nearest], self._labels[nearest]
        similar["distance"] = np.take_along_axis(far, order, axis=1)
        return similar


def at_length_one(features: Rows) -> NDArray[np.float32]:
    """Features of shape (n, d), each divided by its length."""
    rows: NDArray[np.float32] = features.astype(np.float32)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return rows
