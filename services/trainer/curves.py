"""Deletion and insertion curves: what becomes of a prediction as an attribution's pixels go.

Pixels go, or come, in the order of falling attribution. An attribution that is right about what the
model looks at makes the probability fall early when they go, and rise early when they come.

Source: Petsiuk et al., RISE: Randomized Input Sampling for Explanation of Black-box Models, BMVC
2018 (arXiv 1806.07421). There pixels go to grey and come out of a blurred image. Here both the end
of the one and the start of the other are plasma: to blank a blast means to put plasma in its place,
and a blurred smear still has its stain, by which colour alone tells most classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

from services.trainer.metrics import CONFIDENCE_LEVEL
from services.trainer.robustness import Predict
from services.trainer.waiting import with_bar
from shared.explanations.attribution import Attribution
from shared.explanations.method import Method
from shared.imaging import INPUT_SIZE, Pixels
from shared.imaging.mask import visible_pixels
from shared.imaging.segment import background_colour, cell_mask

Values = NDArray[np.float64]
Verdict = Literal["better", "worse", "not told apart"]

SHIFTED, CELLS = "shifted", "cells"
"""Orders that Grad-CAM is measured against: the same maps shifted, and the stained cells."""

STEPS = 10
"""A tenth of the visible pixels each."""

VISIBLE: NDArray[np.bool_] = visible_pixels()
"""The pixels that any model sees, shape (224, 224)."""

_LEAST_SHIFT = INPUT_SIZE // 4


@dataclass(frozen=True)
class Curves:
    """Probabilities of one class on n images, after 0 to `STEPS` steps."""

    deletion: Values
    """Shape (n, STEPS + 1)."""
    insertion: Values
    """The same."""


def area(curves: Values) -> Values:
    """Area under each curve, shape (n, STEPS + 1) to (n,); 1 for a certainty throughout."""
    return np.asarray(np.trapezoid(curves, dx=1 / STEPS, axis=1))


def measure_curves(
    predict: Predict,
    images: Pixels,
    labels: NDArray[np.integer[Any]],
    attributions: Attribution,
    rng: np.random.Generator,
) -> Curves:
    """Measure the curves of each image.

    Args:
        predict: Gives the probabilities of a batch, shape (n, 4).
        images: Model inputs, shape (n, 224, 224, 3).
        labels: Index of the class whose probability is followed, shape (n,).
        attributions: Shape (n, 224, 224); the corner of the scale bar is passed over.
        rng: Orders pixels of equal attribution.
    """
    rows = [
        _measure(predict, image, int(label), turns(attribution, rng))
        for image, label, attribution in with_bar(
            zip(images, labels, attributions, strict=True),
            "Deleting and inserting pixels",
            total=len(images),
        )
    ]
    deletion, insertion = zip(*rows, strict=True)
    return Curves(np.stack(deletion), np.stack(insertion))


def _measure(
    predict: Predict, image: Pixels, label: int, turn: NDArray[np.int64]
) -> tuple[Values, Values]:
    chosen = (turn <= np.arange(STEPS + 1)[:, np.newaxis, np.newaxis])[..., np.newaxis]
    seen, blank = VISIBLE[..., np.newaxis], background_colour(image)
    deleted = np.where(chosen & seen, blank, image)
    inserted = np.where(~chosen & seen, blank, image)
    followed = predict(np.concatenate([deleted, inserted]))[:, label].astype(np.float64)
    return followed[: STEPS + 1], followed[STEPS + 1 :]


def turns(attribution: Attribution, rng: np.random.Generator) -> NDArray[np.int64]:
    """At which step each visible pixel is chosen, the largest attribution first.

    Args:
        attribution: Shape (224, 224).
        rng: Orders equal values, so that no part of the field comes first where nothing is said.

    Returns:
        From 1 to `STEPS`; 0 for what is hidden. Shape (224, 224).
    """
    values = attribution[VISIBLE]
    order = np.lexsort((rng.random(values.size), -values))
    rank = np.empty(values.size, np.int64)
    rank[order] = np.arange(values.size)
    turn = np.zeros(attribution.shape, np.int64)
    turn[VISIBLE] = 1 + rank * STEPS // values.size
    return turn


def shifted(attributions: Attribution, rng: np.random.Generator) -> Attribution:
    """The same maps, each moved by a random way around the edges: what chance does with them.

    They keep their resolution and the sizes of their spots, which noise of single pixels has not:
    such noise destroys an image at once, and everything would beat it at insertion.

    Args:
        attributions: Shape (n, 224, 224).
        rng: Draws how far, at least a quarter of the side down and right.
    """
    ways = rng.integers(_LEAST_SHIFT, INPUT_SIZE - _LEAST_SHIFT + 1, (len(attributions), 2))
    moved = [np.roll(one, way, (0, 1)) for one, way in zip(attributions, ways, strict=True)]
    return np.stack(moved)


def cells_first(images: Pixels) -> Attribution:
    """Maps that know no model: the insides of stained cells first, then what is near to one.

    Args:
        images: Shape (n, 224, 224, 3).

    Returns:
        Pixels to the edge of a cell, negative outside of cells; shape (n, 224, 224).
    """
    return np.stack([_depth(cell_mask(image)) for image in images])


def _depth(cells: NDArray[np.bool_]) -> Attribution:
    if cells.all() or not cells.any():  # there is no edge to be deep below, or far from
        return np.zeros(cells.shape, np.float32)
    inside, outside = (ndimage.distance_transform_edt(region) for region in (cells, ~cells))
    depth: Attribution = (inside - outside).astype(np.float32)
    return depth


def summarise_curves(
    measured: Mapping[str, Curves], by_class: Mapping[str, NDArray[np.bool_]]
) -> dict[str, Any]:
    """Means of curves and their areas, and how far Grad-CAM's are from those of other orders.

    Args:
        measured: Of the same n images, by order; `gradcam` is one of them.
        by_class: Which images are of each class, shape (n,).

    Returns:
        Plain data. `blank`: the probability that is left when all pixels are gone, by class too.
        `deletion` and `insertion`: by order the mean `curve`, its `area`, by class too.
        `gains`: by kind and order the area by which Grad-CAM is better, image by image, and the
        `verdict`, which says better or worse where the interval excludes 0.
    """
    left = measured[Method.GRADCAM].deletion[:, -1]
    said: dict[str, Any] = {"blank": _overall_and_by_class(left, by_class), "gains": {}}
    kinds: dict[str, tuple[Callable[[Curves], Values], int]] = {
        "deletion": (lambda curves: curves.deletion, -1),  # the sooner it falls the better
        "insertion": (lambda curves: curves.insertion, 1),
    }
    for kind, (select, sign) in kinds.items():
        areas = {name: area(select(curves)) for name, curves in measured.items()}
        said[kind] = {
            name: {
                "curve": select(measured[name]).mean(axis=0).tolist(),
                "area": _overall_and_by_class(values, by_class),
            }
            for name, values in areas.items()
        }
        own = areas.pop(Method.GRADCAM)
        gains = {name: sign * (own - values) for name, values in areas.items()}
        said["gains"][kind] = {name: _gain(values) for name, values in gains.items()}
    return said


def _overall_and_by_class(
    values: Values, by_class: Mapping[str, NDArray[np.bool_]]
) -> dict[str, Any]:
    per_class = {label: mean_with_interval(values[rows]) for label, rows in by_class.items()}
    return {**mean_with_interval(values), "per_class": per_class}


def _gain(values: Values) -> dict[str, Any]:
    found = mean_with_interval(values)
    low, high = found["interval95"] or (0, 0)
    verdict: Verdict = "better" if low > 0 else "worse" if high < 0 else "not told apart"
    return {**found, "verdict": verdict}


def mean_with_interval(values: Values) -> dict[str, Any]:
    """A mean over images with its 95 % interval by Student's t; None of a single image.

    Args:
        values: Shape (n,), n at least 1.
    """
    mean, interval = float(values.mean()), None
    if len(values) > 1:
        quantile = stats.t.ppf((1 + CONFIDENCE_LEVEL) / 2, len(values) - 1)
        margin = float(quantile * stats.sem(values))
        interval = [mean - margin, mean + margin]
    return {"mean": mean, "interval95": interval}
