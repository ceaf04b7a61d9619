"""What the trainer keeps below its work folder, by the names that more than one module reads."""

from __future__ import annotations

DATASETS = "datasets"
"""A folder for each version of a data set, as it is in the object store."""
FEATURES = "features"
"""What frozen layers make of images: `services.trainer.features.FeatureCache`."""
