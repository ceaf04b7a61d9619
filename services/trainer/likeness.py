"""Fits a version's distances to its training images (`shared.models.likeness`)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from services.trainer.metrics import Labels
from shared.models.likeness import COLOURS, FEATURES, Gaussians, Rows
from shared.triage.labels import LABELS

FLAGGED = {FEATURES: 0.01, COLOURS: 0.005}
"""Share of unseen images of the data set that may lie above each threshold."""

FEATURE_AXES = 64
_RIDGE = 1e-6
"""Of the mean variance, added to each: an axis without any variance has no inverse."""

_LEAST_RIDGE = 1e-15
"""Of a network that sees the same in all images, whose mean variance is 0."""


def fit_gaussians(
    rows: Rows, labels: Labels, *, axes: int = FEATURE_AXES, unit: bool = True
) -> Gaussians:
    """Gaussians around training images; their threshold is yet to be set.

    Args:
        rows: Shape (n, d).
        labels: Class indices, shape (n,).
        axes: Most axes: those along which the rows vary most.
        unit: Whether rows are scaled to length one first.
    """
    values = rows.astype(np.float64)
    if unit:
        values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    mean = values.mean(axis=0)
    values -= mean
    basis = np.linalg.svd(values, full_matrices=False)[2][:axes].T
    along = values @ basis
    centres = np.stack([along[labels == index].mean(axis=0) for index in range(len(LABELS))])
    spread = np.atleast_2d(np.cov((along - centres[labels]).T))
    spread += max(_RIDGE * np.trace(spread) / len(spread), _LEAST_RIDGE) * np.eye(len(spread))
    rest = ((values**2).sum(axis=1) - (along**2).sum(axis=1)).mean()
    return Gaussians(
        unit=np.array(unit),
        mean=mean.astype(np.float32),
        axes=basis.astype(np.float32),
        centres=centres.astype(np.float32),
        whitening=np.linalg.cholesky(np.linalg.inv(spread)).astype(np.float32),
        rest=np.array(rest if basis.shape[1] < basis.shape[0] else 0, dtype=np.float32),
        threshold=np.array(1, dtype=np.float32),
    )


def with_threshold(fitted: Gaussians, threshold: float) -> Gaussians:
    """The same with a threshold."""
    return replace(fitted, threshold=np.array(max(threshold, _LEAST_RIDGE), dtype=np.float32))


def unseen_threshold(fitted: Gaussians, rows: Rows, flagged: float) -> float:
    """The distance that a share of unseen images exceeds.

    Args:
        fitted: Of images of the same data set.
        rows: Of images that neither trained the network nor were fitted, shape (n, d).
        flagged: The share.
    """
    return float(np.quantile(fitted.distance(rows), 1 - flagged))
