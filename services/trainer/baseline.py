"""The colour-only baseline: how far stain colour alone tells the classes apart.

An accuracy near that of this baseline does not show that a model learned morphology, so every
report states it beside its models.
"""

from __future__ import annotations

from typing import Any

from sklearn.ensemble import RandomForestClassifier

from services.trainer.metrics import Labels, proportion
from shared.imaging import Pixels
from shared.imaging.colour import colour_statistics


def colour_baseline(
    train: tuple[Pixels, Labels], test: tuple[Pixels, Labels], seed: int
) -> dict[str, Any]:
    """Accuracy on `test` of a random forest that has seen nothing but colour statistics."""
    forest = RandomForestClassifier(500, random_state=seed, n_jobs=-1)
    forest.fit(colour_statistics(train[0]), train[1])
    correct = forest.predict(colour_statistics(test[0])) == test[1]
    return {
        "method": "random forest of 500 trees on 21 colour statistics",
        "accuracy": proportion(int(correct.sum()), len(correct)),
    }
