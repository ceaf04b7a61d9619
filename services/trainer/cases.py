"""Fits the cases that a version's results name as similar (`shared.models.cases`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from services.trainer.cards import update_card
from services.trainer.dataset import Sample, label_indices, load_pixels
from services.trainer.evaluate import Part
from services.trainer.lineage import trained_on_validation
from services.trainer.metrics import proportion
from services.trainer.splits import Split
from services.trainer.stored_arrays import remove_unnamed, store_arrays
from shared.models.cases import CASES, ID_LENGTH, at_length_one
from shared.models.engines import create_engine
from shared.models.likeness import Rows
from shared.models.precision import FULL
from shared.models.predictor import Predictor
from shared.models.registry import ModelVersion
from shared.settings import InferenceSettings

AXES = 64

_LEAST_UNIT = 1e-6
"""A network that sees the same in all images has no usual distance, and nothing divides by 0."""


def add_cases(
    version: ModelVersion, split: Split, part: Part, settings: InferenceSettings
) -> dict[str, Any]:
    """Store a version's training images as cases, and measure what they tell of unseen ones.

    An ensemble takes those of its members, which must be fitted before.

    Args:
        version: The version; its card gets the artefact, and a section `cases`.
        split: The split that it was trained by.
        part: Held-out images.
        settings: Of the engine; float32 is used.

    Returns:
        The section `cases` of the card.
    """
    described: dict[str, Any] = {}
    if not version.members:
        samples = _training_samples(version, split)
        features = create_engine(version, settings, FULL).predict(load_pixels(samples)).features
        arrays = fit_cases(samples, features)
        artefact = store_arrays(version, CASES, arrays)
        update_card(version, artefacts={**version.card["artefacts"], CASES: artefact})
        remove_unnamed(version, CASES)
        described = {"images": len(arrays["ids"]), "unit": float(arrays["unit"])}
    similar = Predictor.load_in(FULL, version, settings).predict(part.images).similar
    if similar is not None:
        right = int((similar["label"][:, 0] == part.labels).sum())
        described["nearest_has_the_true_label"] = proportion(right, len(part.labels))
    update_card(version, cases=described)
    return described


def fit_cases(samples: tuple[Sample, ...], features: Rows) -> dict[str, NDArray[Any]]:
    """The arrays of `shared.models.cases.Cases`.

    Args:
        samples: Training images; exact copies count once.
        features: What the network sees in them, shape (n, d).
    """
    ids, first = np.unique([sample.sha256[:ID_LENGTH] for sample in samples], return_index=True)
    rows = at_length_one(features[first])
    mean = rows.mean(axis=0)
    axes = np.linalg.svd(rows - mean, full_matrices=False)[2][:AXES].T.astype(np.float16)
    places = ((rows - mean) @ axes.astype(np.float32)).astype(np.float16)
    return {
        "ids": ids,
        "labels": label_indices(samples)[first].astype(np.int8),
        "mean": mean,
        "axes": axes,
        "places": places,
        "unit": np.float32(
            max(_LEAST_UNIT, _usual_distance(places, [samples[index].group for index in first]))
        ),
    }


def _usual_distance(places: NDArray[np.float16], groups: Sequence[str]) -> float:
    """The median distance of an image to the nearest one of another group; these overlap."""
    apart = cdist(places.astype(np.float64), places.astype(np.float64))
    named = np.array(groups)
    apart[named[:, np.newaxis] == named] = np.inf
    return float(np.median(apart.min(axis=1)))


def _training_samples(version: ModelVersion, split: Split) -> tuple[Sample, ...]:
    return split.without_test if trained_on_validation(version) else split.train
