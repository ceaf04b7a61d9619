"""What a model says of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import DoubtfulError
from shared.imaging.quality import Quality
from shared.models.cases import Distances
from shared.triage.evidence import Evidence
from shared.triage.labels import LABELS, Label


class NoNumberError(DoubtfulError):
    """The model answers with something that is no number; its version must be taken out of use."""

    code = "model_gives_no_number"


@dataclass(frozen=True)
class Prediction:
    """What a model says of n images; None is what its version does not know."""

    raw: NDArray[np.float32]
    """Softmax, shape (n, 4); of an ensemble the weighted mean of its members'."""
    calibrated: NDArray[np.float64]
    """Calibrated probabilities, shape (n, 4)."""
    opinions: NDArray[np.float64] | None = None
    """Calibrated probabilities by each of an ensemble's m members, shape (n, m, 4)."""
    raw_opinions: NDArray[np.float32] | None = None
    """Their softmax, shape (n, m, 4)."""
    sets: NDArray[np.bool_] | None = None
    """Conformal sets, shape (n, 4)."""
    unlikeness: NDArray[np.float64] | None = None
    """See `shared.models.likeness`, shape (n,)."""
    distances: Distances | None = None
    """To the cases of the version, for an ensemble that joins its members'."""
    similar: NDArray[np.void] | None = None
    """The nearest of these cases, see `shared.models.cases`, shape (n, 5)."""

    @classmethod
    def joined(cls, parts: Sequence[Prediction]) -> Prediction:
        """The predictions of one model on several batches, as one."""
        columns: dict[str, Any] = {}
        for name in _NAMES:
            values = [getattr(part, name) for part in parts]
            columns[name] = None if values[0] is None else np.concatenate(values)
        return cls(**columns)

    def rows(self, start: int, end: int) -> Prediction:
        """Those of the images from `start` to before `end`."""
        columns: dict[str, Any] = {}
        for name in _NAMES:
            values = getattr(self, name)
            columns[name] = None if values is None else values[start:end]
        return Prediction(**columns)

    def check_numbers(self) -> None:
        """Refuse what no policy can decide on, and no result can state.

        Raises:
            NoNumberError: A probability or a distance is infinite or no number.
        """
        stated: list[NDArray[Any] | None] = [
            *(self.raw, self.calibrated, self.opinions, self.unlikeness)
        ]
        if self.similar is not None:
            stated.append(self.similar["distance"])
        if not all(np.isfinite(values).all() for values in stated if values is not None):
            raise NoNumberError

    def evidence(self, index: int, quality: Quality | None = None) -> Evidence:
        """All that is known of one image, with its quality where that was measured."""
        opinions, raw_opinions = self.opinions, self.raw_opinions
        sets, unlikeness, similar = self.sets, self.unlikeness, self.similar
        return Evidence(
            raw=self.raw[index],
            calibrated=self.calibrated[index],
            opinions=() if opinions is None else tuple(opinions[index]),
            raw_opinions=() if raw_opinions is None else tuple(raw_opinions[index]),
            label_set=None if sets is None else _labels(sets[index]),
            unlikeness=None if unlikeness is None else float(unlikeness[index]),
            quality=quality,
            similar=() if similar is None else tuple(similar[index]),
        )


_NAMES = tuple(field.name for field in fields(Prediction))


def _labels(inside: NDArray[np.bool_]) -> tuple[Label, ...]:
    return tuple(label for label, is_inside in zip(LABELS, inside, strict=True) if is_inside)
