"""The part of a split that trained and chose nothing, read for measuring."""

from __future__ import annotations

from services.trainer.dataset import label_indices, load_pixels
from services.trainer.evaluate import Part
from services.trainer.splits import Split
from services.trainer.study import describe_split


def held_out(split: Split, dataset_version: str) -> Part:
    """The test part, as a model that never sees the scale bar sees it.

    Raises:
        DatasetError: A file is no usable image.
    """
    measured_on = {"dataset_version": dataset_version, "split": describe_split(split)}
    return Part(split.test, load_pixels(split.test), label_indices(split.test), measured_on)
