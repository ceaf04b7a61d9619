"""What lets a version's results be acted on, or doubted: it travels with the version.

Its conformal sets, and the distances that tell a foreign image.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from services.trainer.calibrate import choose_conformal, compare_vector
from services.trainer.dataset import label_indices, load_pixels
from services.trainer.likeness import FLAGGED, fit_gaussians, unseen_threshold, with_threshold
from services.trainer.siblings import trained_on_validation
from services.trainer.splits import Split
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

_OWN = "validation part of the split"
_SIBLINGS = f"{_OWN}, by a run of the same plan that did not train on it"


@dataclass(frozen=True)
class _Unseen:
    """What a network says of the validation part, which trained it not."""

    probabilities: NDArray[np.float64]
    """Of the version's kind, raw: shape (n, 4)."""
    threshold: float | None
    """Of the distance of features from its training images; an ensemble has none of its own."""


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
    unseen = _unseen(version, split, settings, sibling)
    calibrated = version.calibration.apply(unseen.probabilities.astype(np.float32))
    likeness = Likeness(
        features=_features(version, split, settings, unseen), colours=_colours(split)
    )
    fitted_on = _SIBLINGS if _is_seen(version) else _OWN
    labels = label_indices(split.validation)
    conformal = choose_conformal(labels, calibrated)
    return {
        "calibration": {**version.card["calibration"], **_vector(version, split, unseen)},
        "conformal": {**conformal, "fitted_on": fitted_on},
        "likeness": {
            "method": "distance to class Gaussians of pooled features, and of colour statistics",
            "unseen_images_above_threshold": FLAGGED,
            "thresholds_fitted_on": fitted_on,
        },
        "artefacts": {**version.card["artefacts"], REFERENCE: _store(version, likeness)},
    }


def _is_seen(version: ModelVersion) -> bool:
    """Whether the validation part trained a version, or any member of it."""
    if version.members:
        return any(_is_seen(member.version) for member in version.members)
    return trained_on_validation(version)


def _unseen(
    version: ModelVersion, split: Split, settings: InferenceSettings, sibling: Sibling
) -> _Unseen:
    if version.members:
        return _Unseen(_mean(version, split, settings, sibling), None)
    if trained_on_validation(version):
        model = sibling(version)
        look: Callable[[Pixels], Outputs] = lambda images: _look(model, images)  # noqa: E731
    else:
        look = create_engine(version, settings, FULL).predict
    train, validation = (look(load_pixels(part)) for part in (split.train, split.validation))
    fitted = fit_gaussians(train.features, label_indices(split.train))
    threshold = unseen_threshold(fitted, validation.features, FLAGGED[FEATURES])
    return _Unseen(validation.probabilities.astype(np.float64), threshold)


def _mean(
    version: ModelVersion, split: Split, settings: InferenceSettings, sibling: Sibling
) -> NDArray[np.float64]:
    """What an ensemble of the members' siblings says."""
    calibrated = [
        member.version.calibration.apply(
            _unseen(member.version, split, settings, sibling).probabilities.astype(np.float32)
        )
        for member in version.members
    ]
    mean: NDArray[np.float64] = np.average(
        calibrated, axis=0, weights=[member.weight for member in version.members]
    )
    return mean


def _look(model: keras.Model, images: Pixels) -> Outputs:
    both = keras.Model(model.inputs, [model.output, features_of(model)])
    return Outputs(*both.predict(images, batch_size=32, verbose=0))


def _features(
    version: ModelVersion, split: Split, settings: InferenceSettings, unseen: _Unseen
) -> Gaussians | None:
    if unseen.threshold is None:
        return None
    samples = split.without_test if trained_on_validation(version) else split.train
    seen = create_engine(version, settings, FULL).predict(load_pixels(samples))
    return with_threshold(fit_gaussians(seen.features, label_indices(samples)), unseen.threshold)


def _colours(split: Split) -> Gaussians:
    """No network is in it, so that the validation part is unseen by it whatever was trained."""
    train, unseen = (
        colour_statistics(load_pixels(part)) for part in (split.train, split.validation)
    )
    fitted = fit_gaussians(train, label_indices(split.train), unit=False)
    return with_threshold(fitted, unseen_threshold(fitted, unseen, FLAGGED[COLOURS]))


def _vector(version: ModelVersion, split: Split, unseen: _Unseen) -> dict[str, Any]:
    """The comparison with a vector; not of an ensemble, whose members are calibrated each."""
    if version.members:
        return {}
    groups = [sample.group for sample in split.validation]
    raw = unseen.probabilities.astype(np.float32)
    labels = label_indices(split.validation)
    return {"vector_over_temperature": compare_vector(labels, raw, groups)}


def _store(version: ModelVersion, likeness: Likeness) -> dict[str, Any]:
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **likeness.arrays())
    data = stream.getvalue()
    sha256 = hashlib.sha256(data).hexdigest()
    # A name of its own: until the card names it, the version has the file that its card describes.
    path = version.folder / f"reference-{sha256[:8]}.npz"
    path.write_bytes(data)
    return {"file": path.name, "sha256": sha256, "bytes": len(data)}


def remove_old_references(version: ModelVersion) -> None:
    """Remove the files of references that a version's card no longer names."""
    kept = version.card["artefacts"][REFERENCE]["file"]
    for path in version.folder.glob("reference-*.npz"):
        if path.name != kept:
            path.unlink()
