"""How much accuracy a model loses when stain, light, focus and compression change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from rich.progress import track

from services.trainer.metrics import Labels, Probabilities, proportion
from shared.imaging import Pixels
from shared.imaging.normalise import normalise_stain, to_grey
from shared.imaging.perturb import LEVELS, PERTURBATIONS, PERTURBATIONS_VERSION, perturb

Predict = Callable[[Pixels], Probabilities]

DEFAULT_SEED = 0


def robustness(
    predict: Predict, images: Pixels, labels: Labels, *, seed: int = DEFAULT_SEED
) -> dict[str, Any]:
    """Measure a model on the same images as they are and changed.

    Args:
        predict: Gives the probabilities of a batch, shape (n, 4).
        images: Model inputs, shape (n, 224, 224, 3), n at least 1, their scale bars hidden.
        labels: True class indices, shape (n,).
        seed: Seed of the perturbations' signs and directions.

    Returns:
        Plain data: proportions of correct images, with their Wilson 95 % intervals, of the images
        as they are (`clean`), in `grey` and `stain_normalised`; and under `perturbations`, by name
        and level, `accuracy` and `loss_points`, the percentage points below `clean`.
    """

    def count_correct(changed: Pixels) -> int:
        return int((predict(changed).argmax(axis=1) == labels).sum())

    total, clean = len(labels), count_correct(images)
    steps = [(name, level) for name in PERTURBATIONS for level in LEVELS]
    perturbations: dict[str, dict[str, Any]] = {name: {} for name in PERTURBATIONS}
    for name, level in track(steps, description="Changing images", transient=True):
        changed = [perturb(image, name, level, seed, index) for index, image in enumerate(images)]
        correct = count_correct(np.stack(changed))
        perturbations[name][str(level)] = {
            "strength": PERTURBATIONS[name].levels[level - 1],
            "accuracy": proportion(correct, total),
            "loss_points": 100 * (clean - correct) / total,
        }
    normalised = np.stack([normalise_stain(image) for image in images])
    return {
        "perturbations_version": PERTURBATIONS_VERSION,
        "seed": seed,
        "images": total,
        "clean": proportion(clean, total),
        "perturbations": perturbations,
        "grey": proportion(count_correct(to_grey(images)), total),
        "stain_normalised": proportion(count_correct(normalised), total),
    }
