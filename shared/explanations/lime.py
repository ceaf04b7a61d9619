"""LIME: how the probability of a class changes when parts of the field are hidden.

Superpixels are hidden at random, half of them in each sample, and a linear model is fitted to the
probabilities; its weight of a superpixel says how much the class owes to it. The linear model is
the library's, weighted by how much of the field a sample still shows.

Each sample has a counterpart that hides what it shows. What two parts do only together then cancels
out of their weights, and these depend less on chance.

Sources: Ribeiro, Singh and Guestrin, "Why Should I Trust You?": Explaining the Predictions of Any
Classifier, KDD 2016 (arXiv 1602.04938); paired samples: Covert and Lee, Improving KernelSHAP,
AISTATS 2021 (arXiv 2012.01536).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from lime.lime_image import LimeImageExplainer
from numpy.typing import NDArray
from scipy.stats import spearmanr

from shared.explanations.attribution import Attribution, visible_part
from shared.explanations.method import Progress
from shared.explanations.superpixels import Superpixels, superpixels
from shared.imaging import Pixels
from shared.imaging.mask import mask_scale_bar, visible_pixels
from shared.imaging.segment import background_colour

Predict = Callable[[Pixels], NDArray[np.floating[Any]]]
"""Images of shape (n, 224, 224, 3) in, probabilities of shape (n, 4) out."""

SAMPLES = 400
"""Images with hidden parts that one explanation is fitted to: about ten a superpixel."""

LEAST_WEIGHT = 1e-6
"""Of probability: less is rounding, out of which a scale to 1 would make a picture."""

_BATCH = 16


@dataclass(frozen=True)
class LimeExplanation:
    """What hiding each superpixel does to the probability of a class.

    Attributes:
        segments: The superpixel of each pixel, shape (224, 224).
        weights: By superpixel, shape (k,): how much probability the class gains by its being seen.
        score: Weighted R2 of the linear model on its samples: 1 explains all, 0 nothing.
        attribution: The weights above zero on their superpixels, the largest 1, shape (224, 224);
            the corner of the scale bar has none.
    """

    segments: Superpixels
    weights: NDArray[np.float64]
    score: float
    attribution: Attribution


def lime_attribution(
    image: Pixels,
    label_index: int,
    predict: Predict,
    *,
    samples: int = SAMPLES,
    seed: int = 0,
    progress: Progress,
) -> LimeExplanation:
    """Explain the probability of one class.

    A hidden superpixel gets the colour of the field between its cells: its own mean would leave a
    violet blob where a nucleus was.

    Args:
        image: A model's input, shape (224, 224, 3).
        label_index: Of the class, in the order of `LABELS`.
        predict: Is asked for batches of 16.
        samples: How many images with hidden parts are predicted.
        seed: The same seed hides the same parts.
        progress: Is called after each batch.
    """
    explainer = _Explainer(seed, progress)
    found = explainer.explain_instance(
        image,
        predict,
        labels=(label_index,),
        hide_color=background_colour(image),
        top_labels=None,
        num_samples=samples,
        batch_size=_BATCH,
        segmentation_fn=superpixels,
        random_seed=seed,
    )
    weights = np.array([weight for _, weight in sorted(found.local_exp[label_index])])
    weights[np.abs(weights) < LEAST_WEIGHT] = 0
    spread = np.maximum(weights, 0)[found.segments].astype(np.float32)
    return LimeExplanation(found.segments, weights, float(found.score), visible_part(spread))


def agreement(explanation: LimeExplanation, grad_cam: Attribution) -> float | None:
    """How far LIME and Grad-CAM rank the parts of a field alike.

    It is Spearman's rank correlation, over the superpixels, between LIME's weights and the mean of
    Grad-CAM on the visible pixels of each: 1 is the same order, 0 no relation, -1 the reverse.

    Sources: Spearman 1904, Am. J. Psychol. 15:72; as a measure between explanations: Krishna et al.
    2022, The Disagreement Problem in Explainable Machine Learning (arXiv 2202.01602), section 4.

    Args:
        explanation: LIME's.
        grad_cam: Of the same image and class, shape (224, 224).

    Returns:
        None where one of the two tells no part from another.
    """
    visible = visible_pixels()
    places = explanation.segments[visible]
    count = len(explanation.weights)
    pixels = np.bincount(places, minlength=count)
    means = np.bincount(places, grad_cam[visible], minlength=count) / pixels
    if np.ptp(means) == 0 or np.ptp(explanation.weights) == 0:
        return None
    return float(spearmanr(explanation.weights, means).statistic)


class _Explainer(LimeImageExplainer):  # type: ignore[misc]
    """The library's, with paired samples, in batches, and without its bar on the terminal."""

    def __init__(self, seed: int, progress: Progress) -> None:
        super().__init__(feature_selection="none", random_state=seed)
        self._progress = progress

    def data_labels(
        self,
        image: Pixels,
        fudged_image: Pixels,
        segments: Superpixels,
        classifier_fn: Predict,
        num_samples: int,
        *,
        batch_size: int,
    ) -> tuple[NDArray[np.int64], NDArray[np.floating[Any]]]:
        """What is shown in each sample, shape (n, k), and what the model says of it, (n, 4)."""
        count = int(segments.max()) + 1
        drawn = self.random_state.randint(0, 2, (-(-num_samples // 2), count))
        drawn[0] = 1  # the library takes the first for the whole field
        shown = np.concatenate([drawn, 1 - drawn])[:num_samples]
        answers = []
        for start in range(0, num_samples, batch_size):
            batch = shown[start : start + batch_size].astype(bool)
            seen = batch[:, segments][..., np.newaxis]
            # The model sees one constant colour in the corner of every image.
            answers.append(classifier_fn(mask_scale_bar(np.where(seen, image, fudged_image))))
            self._progress(min((start + batch_size) / num_samples, 1.0))
        return shown, np.concatenate(answers)
