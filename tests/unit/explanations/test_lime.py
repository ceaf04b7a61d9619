"""LIME finds what a classifier looks at, the same way each time."""

from __future__ import annotations

import numpy as np
import pytest

from shared.explanations.lime import LimeExplanation, Predict, agreement, lime_attribution
from shared.imaging import Pixels
from shared.imaging.mask import MASK_COLOUR, MASK_SIZE, mask_scale_bar
from tests.unit.explanations.fields import CELL, PLASMA, discs

CENTRES = [(50, 50), (60, 150), (150, 60), (140, 140)]
WATCHED = CENTRES[2]
FIELD = mask_scale_bar(discs(CENTRES))
LABEL = 2


def watching(row: int, column: int) -> Predict:
    """A classifier that is sure of label 2 if a cell is at this place, and of label 0 if not."""

    def predict(images: Pixels) -> np.ndarray:
        is_there = (images[:, row, column] == CELL).all(axis=1)
        probabilities = np.zeros((len(images), 4))
        probabilities[:, LABEL] = np.where(is_there, 0.97, 0.01)
        probabilities[:, 0] = 1 - probabilities[:, LABEL]
        return probabilities

    return predict


def explain(
    place: tuple[int, int] = WATCHED, *, seed: int = 0, label: int = LABEL
) -> LimeExplanation:
    return lime_attribution(
        FIELD, label, watching(*place), samples=120, seed=seed, progress=lambda share: None
    )


def test_the_nucleus_that_a_classifier_looks_at_has_the_largest_weight() -> None:
    found = explain()
    watched = found.segments[WATCHED]
    assert found.weights.argmax() == watched
    others = np.delete(found.weights, watched)
    assert found.weights[watched] > 5 * np.abs(others).max()
    assert found.score > 0.9
    assert found.attribution[WATCHED] == 1
    assert all(found.attribution[centre] < 0.2 for centre in CENTRES if centre != WATCHED)


def test_what_speaks_against_a_class_is_not_in_its_attribution() -> None:
    found = explain(label=0)
    assert found.weights.argmin() == found.segments[WATCHED]
    assert found.attribution[WATCHED] == 0


def test_the_same_seed_gives_the_same_weights_and_another_does_not() -> None:
    first, again, other = explain(seed=1), explain(seed=1), explain(seed=2)
    assert np.array_equal(first.weights, again.weights)
    assert first.score == again.score
    assert not np.array_equal(first.weights, other.weights)


def test_samples_are_predicted_in_small_batches_and_progress_is_told() -> None:
    seen: list[Pixels] = []
    told: list[float] = []

    def predict(images: Pixels) -> np.ndarray:
        seen.append(images)
        return watching(*WATCHED)(images)

    lime_attribution(FIELD, LABEL, predict, samples=40, seed=0, progress=told.append)
    assert [len(batch) for batch in seen] == [16, 16, 8]
    assert told == [0.4, 0.8, 1.0]


def test_a_hidden_cell_becomes_background_and_the_corner_stays_as_it_is() -> None:
    seen: list[Pixels] = []

    def predict(images: Pixels) -> np.ndarray:
        seen.append(images)
        return watching(*WATCHED)(images)

    lime_attribution(FIELD, LABEL, predict, samples=40, seed=0, progress=lambda share: None)
    samples = np.concatenate(seen)
    assert np.array_equal(samples[0], FIELD), "the first shows the whole field"
    colours = {tuple(int(level) for level in colour) for colour in samples[:, *WATCHED]}
    assert colours == {CELL, PLASMA}
    assert (samples[:, -MASK_SIZE:, -MASK_SIZE:] == MASK_COLOUR).all()


def test_each_sample_has_a_counterpart_that_hides_what_it_shows() -> None:
    seen: list[Pixels] = []

    def predict(images: Pixels) -> np.ndarray:
        seen.append(images)
        return watching(*WATCHED)(images)

    lime_attribution(FIELD, LABEL, predict, samples=32, seed=0, progress=lambda share: None)
    first, second = seen
    is_shown, is_shown_later = (
        (half[:, *np.array(CENTRES).T] == CELL).all(axis=2) for half in (first, second)
    )
    assert np.array_equal(is_shown_later, ~is_shown)
    assert 0 < is_shown[1:].mean() < 1


def test_nothing_is_attributed_to_the_hidden_corner() -> None:
    found = explain((170, 190))  # beside it; no cell is there, so nothing counts
    assert not found.attribution[-MASK_SIZE:, -MASK_SIZE:].any()


@pytest.mark.parametrize("colour", [PLASMA, CELL])
def test_a_plain_field_and_a_classifier_without_opinion_have_an_explanation(
    colour: tuple[int, int, int],
) -> None:
    field = mask_scale_bar(np.full((224, 224, 3), colour, dtype=np.uint8))
    always = np.array([0.1, 0.2, 0.3, 0.4], dtype=np.float32)  # none of it is a binary fraction
    found = lime_attribution(
        field,
        1,
        lambda images: always[np.newaxis].repeat(len(images), 0),
        samples=32,
        seed=0,
        progress=lambda share: None,
    )
    assert not found.weights.any()
    assert not found.attribution.any(), "a picture was made of the rounding of numbers"
    assert np.isfinite(found.score)
    rising = np.linspace(0, 1, 224, dtype=np.float32)[np.newaxis].repeat(224, 0)
    assert agreement(found, rising) is None


def halves(weights: tuple[float, ...]) -> LimeExplanation:
    """Four upright stripes with given weights."""
    segments = np.repeat(np.arange(4), 56)[np.newaxis].repeat(224, 0).astype(np.int32)
    nothing = np.zeros((224, 224), dtype=np.float32)
    return LimeExplanation(segments, np.array(weights), 1.0, nothing)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [((1, 2, 3, 4), 1.0), ((4, 3, 2, 1), -1.0), ((1, 2, 4, 3), 0.8), ((1, 1, 1, 1), None)],
)
def test_agreement_is_of_the_order_of_the_superpixels(
    weights: tuple[float, ...], expected: float | None
) -> None:
    rising = np.linspace(0, 1, 224, dtype=np.float32)[np.newaxis].repeat(224, 0)
    assert agreement(halves(weights), rising) == (
        None if expected is None else pytest.approx(expected)
    )


def test_agreement_takes_no_account_of_the_hidden_corner() -> None:
    rising = np.linspace(0, 1, 224, dtype=np.float32)[np.newaxis].repeat(224, 0)
    rising[-MASK_SIZE:, -MASK_SIZE:] = -100
    assert agreement(halves((1, 2, 3, 4)), rising) == pytest.approx(1.0)
