"""What lets a version's results be acted on, or doubted: it travels with the version.

Its conformal sets, and the distances that tell a foreign image.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from services.trainer.calibrate import choose_conformal, compare_vector
from services.trainer.dataset import label_indices, load_pixels
from services.trainer.likeness import FLAGGED, fit_gaussians, unseen_threshold, with_threshold
from services.trainer.lineage import trained_on_validation
from services.trainer.splits import Split
from services.trainer.stored_arrays import store_arrays
from shared.imaging import Pixels
from shared.imaging.colour import colour_statistics
from shared.models.engines import create_engine
from shared.models.engines.outputs import Outputs
from shared.models.engines.tensorflow_engine import features_of
from shared.models.likeness import COLOURS, FEATURES, REFERENCE, Gaussians, Likeness
from shared.models.precision import FULL
from shared.models.registry import ModelVersion
from shared.settings import InferenceSettings

Sibling = Callable[[ModelVersion], keras.Model]
"""Gives the Keras model of a version's sibling, see `services.trainer.siblings`."""

OWN = "validation part of the split"
SIBLINGS = f"{OWN}, by a run of the same plan that did not train on it"
"""What a card says under `fitted_on`."""

Look = Callable[[Pixels], Outputs]


def assure(
    version: ModelVersion, split: Split, settings: InferenceSettings, sibling: Sibling
) -> dict[str, Any]:
    """Fit a version's conformal sets and its distances, and write these as `reference-HASH.npz`.

    Args:
        version: A version whose card has its calibration; the card is not touched.
        split: The split that it was trained by.
        settings: Of the engine; float32 is used.
        sibling: Asked where the version trained on the validation part.

    Returns:
        `calibration`, `conformal`, `likeness` and `artefacts`, for the card. The calibration stays
        as it is; whether a vector would have been better is added.

    Raises:
        ModelArtefactError: An artefact is missing or altered.
    """
    raw = _of_validation(version, split, settings, sibling)
    labels = label_indices(split.validation)
    fitted_on = SIBLINGS if _is_seen(version) else OWN
    calibration = dict(version.card["calibration"])
    features = None
    if not version.members:  # those are calibrated and compared each
        groups = [sample.group for sample in split.validation]
        calibration["vector_over_temperature"] = compare_vector(labels, raw, groups)
        features = _features(version, split, settings, sibling)
    likeness = Likeness(features=features, colours=_colours(split))
    conformal = choose_conformal(labels, version.calibration.apply(raw))
    return {
        "calibration": calibration,
        "conformal": {**conformal, "fitted_on": fitted_on},
        "likeness": {
            "method": "distance to class Gaussians of pooled features, and of colour statistics",
            "unseen_images_above_threshold": FLAGGED,
            "thresholds_fitted_on": fitted_on,
        },
        "artefacts": {
            **version.card["artefacts"],
            REFERENCE: store_arrays(version, REFERENCE, likeness.arrays()),
        },
    }


def _is_seen(version: ModelVersion) -> bool:
    """Whether the validation part trained a version, or any member of it."""
    if version.members:
        return any(_is_seen(member.version) for member in version.members)
    return trained_on_validation(version)


def _unseeing(version: ModelVersion, settings: InferenceSettings, sibling: Sibling) -> Look:
    """The network that the validation part trained not: the version's own, or its sibling's."""
    if not trained_on_validation(version):
        return create_engine(version, settings, FULL).predict
    model = sibling(version)
    return lambda images: _look(model, images)


def _of_validation(
    version: ModelVersion, split: Split, settings: InferenceSettings, sibling: Sibling
) -> NDArray[np.float32]:
    """Its softmax of the validation part, shape (n, 4); of an ensemble as its calibration takes it.

    An ensemble of siblings says what the ensemble would.
    """
    if not version.members:
        look = _unseeing(version, settings, sibling)
        return look(load_pixels(split.validation)).probabilities
    calibrated = [
        member.version.calibration.apply(_of_validation(member.version, split, settings, sibling))
        for member in version.members
    ]
    weights = [member.weight for member in version.members]
    mean: NDArray[np.float32] = np.average(calibrated, axis=0, weights=weights).astype(np.float32)
    return mean


def _look(model: keras.Model, images: Pixels) -> Outputs:
    both = keras.Model(model.inputs, [model.output, features_of(model)])
    return Outputs(*both.predict(images, batch_size=32, verbose=0))


def _features(
    version: ModelVersion, split: Split, settings: InferenceSettings, sibling: Sibling
) -> Gaussians:
    """Around what the version sees in its training images; the threshold is that of unseen ones."""
    look = _unseeing(version, settings, sibling)
    train, unseen = (look(load_pixels(part)).features for part in (split.train, split.validation))
    fitted = fit_gaussians(train, label_indices(split.train))
    threshold = unseen_threshold(fitted, unseen, FLAGGED[FEATURES])
    if not trained_on_validation(version):
        return with_threshold(fitted, threshold)
    own = create_engine(version, settings, FULL).predict(load_pixels(split.without_test)).features
    return with_threshold(fit_gaussians(own, label_indices(split.without_test)), threshold)


def _colours(split: Split) -> Gaussians:
    """No network is in it, so that the validation part is unseen by it whatever was trained."""
    train, unseen = (
        colour_statistics(load_pixels(part)) for part in (split.train, split.validation)
    )
    fitted = fit_gaussians(train, label_indices(split.train), unit=False)
    return with_threshold(fitted, unseen_threshold(fitted, unseen, FLAGGED[COLOURS]))
