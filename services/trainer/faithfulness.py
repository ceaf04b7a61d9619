"""How faithful a version's Grad-CAM is: whether it shows what the model looks at.

Three questions, on held-out images, of the predicted class and in float32: does the prediction
change most with the pixels that the map names first (`services.trainer.curves`); does the map lie
on cells; and is it another one once the weights are shuffled (`services.trainer.randomise`)?
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from services.trainer.curves import (
    CELLS,
    SHIFTED,
    STEPS,
    VISIBLE,
    Values,
    cells_first,
    mean_with_interval,
    measure_curves,
    shifted,
    summarise_curves,
)
from services.trainer.evaluate import Part
from services.trainer.metrics import proportion
from services.trainer.randomise import Scope, randomised
from services.trainer.waiting import with_bar
from shared.clock import utc_now
from shared.explanations.attribution import Attribution, Shares, shares, visible_part
from shared.explanations.method import Method
from shared.models.precision import FULL
from shared.models.predictor import Predictor
from shared.models.registry import ModelVersion
from shared.settings import InferenceSettings
from shared.triage.labels import LABELS

IMAGES_PER_CLASS = 16
_SEED = 0
_SHUFFLES = 3


@dataclass(frozen=True)
class _Explained:
    """Images with the predicted class of each, and the map that explains it."""

    part: Part
    predicted: NDArray[np.int64]
    maps: Attribution


def faithfulness(
    version: ModelVersion,
    part: Part,
    settings: InferenceSettings,
    *,
    images_per_class: int = IMAGES_PER_CLASS,
    seed: int = _SEED,
) -> dict[str, Any]:
    """Measure a version's Grad-CAM.

    Args:
        version: The version.
        part: Labelled images that trained nothing.
        settings: Of the engine.
        images_per_class: Most images a class that are drawn from them, see `draw_sample`.
        seed: Of what is drawn, and of everything that is random.

    Returns:
        Plain data for the card: what was measured on, `curves`, `attribution` and `randomised`.

    Raises:
        ModelArtefactError: An artefact is missing or altered.
    """
    drawn = draw_sample(part, images_per_class, seed)
    predictor = Predictor.load_in(FULL, version, settings, maps=True)
    predicted = predictor.predict(drawn.images).calibrated.argmax(axis=1)
    explained = _Explained(drawn, predicted, predictor.grad_cam(drawn.images, predicted))
    reference = predictor.reference
    return {
        "method": str(Method.GRADCAM),
        "of": "the predicted class",
        "engine": reference.engine,
        "precision": reference.precision,
        "measured_on": {**part.measured_on, "part": "test"},
        "measured_at": utc_now().isoformat(timespec="seconds"),
        "images": len(drawn.labels),
        "images_per_class": {label: int(rows.sum()) for label, rows in _by_class(drawn).items()},
        "correct": proportion(int((predicted == drawn.labels).sum()), len(predicted)),
        "seed": seed,
        "curves": _curves(predictor, explained, seed),
        "attribution": _attribution(explained),
        "randomised": _randomised(version, explained, settings, seed),
    }


def draw_sample(part: Part, images_per_class: int, seed: int) -> Part:
    """Draw images of each class, one of a group at most: overlapping fields tell the same twice.

    Returns:
        Fewer images where a class has fewer groups.
    """
    rng = np.random.default_rng(seed)
    rows: list[int] = []
    for index in range(len(LABELS)):
        groups: dict[str, int] = {}
        for row in rng.permutation(np.flatnonzero(part.labels == index)):
            groups.setdefault(part.samples[row].group, int(row))
        rows += list(groups.values())[:images_per_class]
    samples = tuple(part.samples[row] for row in rows)
    return Part(samples, part.images[rows], part.labels[rows], part.measured_on)


def _by_class(part: Part) -> dict[str, NDArray[np.bool_]]:
    """Which images are of each class that has any."""
    rows = {str(label): part.labels == index for index, label in enumerate(LABELS)}
    return {label: chosen for label, chosen in rows.items() if chosen.any()}


def _curves(predictor: Predictor, explained: _Explained, seed: int) -> dict[str, Any]:
    images, rng = explained.part.images, np.random.default_rng(seed)
    orders = {
        str(Method.GRADCAM): explained.maps,
        SHIFTED: shifted(explained.maps, rng),
        CELLS: cells_first(images),
    }

    def probabilities(batch: Any) -> Values:
        return predictor.predict(batch).calibrated

    measured = {
        name: measure_curves(probabilities, images, explained.predicted, maps, rng)
        for name, maps in orders.items()
    }
    return {
        "steps": STEPS,
        "blanked_with": "the median colour of the visible pixels that are no cell",
        **summarise_curves(measured, _by_class(explained.part)),
    }


def _attribution(explained: _Explained) -> dict[str, Any]:
    images, maps = explained.part.images, explained.maps
    raw = [shares(one, image) for one, image in zip(maps, images, strict=True)]
    served = [
        shares(visible_part(one), image).hidden for one, image in zip(maps, images, strict=True)
    ]
    hidden = np.array([one.hidden for one in raw])
    return {
        **_on_cells(raw),
        "per_class": {
            label: _on_cells([raw[row] for row in np.flatnonzero(rows)])
            for label, rows in _by_class(explained.part).items()
        },
        "hidden_corner": {
            "chance": float((~VISIBLE).mean()),
            "before_hiding": {**mean_with_interval(hidden), "largest": float(hidden.max())},
            "as_served": max(served),
        },
        "empty_maps": int((maps.max(axis=(1, 2)) == 0).sum()),
    }


def _on_cells(measured: list[Shares]) -> dict[str, Any]:
    on_cells, chance = (
        np.array([getattr(one, name) for one in measured]) for name in ("on_cells", "chance")
    )
    return {
        "on_cells": mean_with_interval(on_cells),
        "chance": mean_with_interval(chance),
        "above_chance": mean_with_interval(on_cells - chance),
        "images_above_chance": proportion(int((on_cells > chance).sum()), len(measured)),
    }


def _randomised(
    version: ModelVersion, explained: _Explained, settings: InferenceSettings, seed: int
) -> dict[str, Any]:
    moved = shifted(explained.maps, np.random.default_rng(seed))
    return {
        "shuffles": _SHUFFLES,
        "correlation": "Spearman, over the visible pixels of each image",
        **{
            str(scope): _compare_shuffled(version, scope, explained, settings, seed)
            for scope in with_bar(list(Scope), "Shuffling weights")
        },
        SHIFTED: _correlation([rank_correlations(explained.maps, moved)]),
    }


def _compare_shuffled(
    version: ModelVersion,
    scope: Scope,
    explained: _Explained,
    settings: InferenceSettings,
    seed: int,
) -> dict[str, Any]:
    images, predicted = explained.part.images, explained.predicted
    kept, found = [], []
    for shuffle in range(seed, seed + _SHUFFLES):
        with TemporaryDirectory() as folder:
            copy = randomised(version, Path(folder), scope, shuffle)
            blind = Predictor.load_in(FULL, copy, settings, maps=True)
        kept.append(float((blind.predict(images).calibrated.argmax(axis=1) == predicted).mean()))
        found.append(rank_correlations(explained.maps, blind.grad_cam(images, predicted)))
    return {**_correlation(found), "predictions_kept": float(np.mean(kept))}


def _correlation(found: list[Values]) -> dict[str, Any]:
    """Each image's mean over the shuffles, and what they give over the images."""
    stacked = np.stack(found)
    each = np.ma.masked_invalid(stacked)
    of_images = each.mean(axis=0).compressed()
    return {
        "spearman": mean_with_interval(of_images) if len(of_images) else None,
        "by_shuffle": [
            None if np.ma.is_masked(mean) else float(mean) for mean in each.mean(axis=1)
        ],
        "maps": each.size,
        "maps_without_ranks": int(np.isnan(stacked).sum()),
    }


def rank_correlations(first: Attribution, second: Attribution) -> Values:
    """Spearman's rank correlation of the maps of each image, over its visible pixels.

    Args:
        first: Shape (n, 224, 224).
        second: The same.

    Returns:
        Shape (n,); NaN where a map is the same everywhere, which has no ranks.
    """
    pairs = zip(first[:, VISIBLE], second[:, VISIBLE], strict=True)
    found = [
        stats.spearmanr(a, b).statistic if np.ptp(a) and np.ptp(b) else np.nan for a, b in pairs
    ]
    return np.array(found, dtype=np.float64)
