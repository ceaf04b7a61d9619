"""Augmentation changes what it should, and never shows the scale bar."""

import numpy as np

from shared.imaging.augment import Augmentation, augment
from shared.imaging.decode import to_model_input
from shared.imaging.mask import MASK_COLOUR, MASK_SIZE
from shared.local.synthetic import draw_smear


def test_the_same_state_gives_the_same_variant_and_another_a_different_one() -> None:
    image = to_model_input(draw_smear(1))
    first, same, other = (augment(image, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


def test_a_variant_has_the_mask_where_inference_puts_it() -> None:
    image = to_model_input(draw_smear(1))
    for seed in range(5):
        corner = augment(image, np.random.default_rng(seed))[-MASK_SIZE:, -MASK_SIZE:]
        assert (corner == MASK_COLOUR).all()


def test_a_variant_stays_a_smear_of_like_colours() -> None:
    image = to_model_input(draw_smear(1))
    for seed in range(5):
        variant = augment(image, np.random.default_rng(seed))
        assert np.abs(variant.mean(axis=(0, 1)) - image.mean(axis=(0, 1))).max() < 15


def test_a_field_is_turned_by_quarters_alone_and_by_each() -> None:
    image = to_model_input(draw_smear(1))
    seen = set()
    for seed in range(40):
        turned = augment(image, np.random.default_rng(seed), Augmentation.TURNED, masked=False)
        rng = np.random.default_rng(seed)
        quarters = int(rng.integers(4))
        upright = augment(np.rot90(image, quarters), rng, Augmentation.STUDY, masked=False)
        assert np.array_equal(turned, upright)
        seen.add(quarters)
    assert seen == {0, 1, 2, 3}
