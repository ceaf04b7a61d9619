"""What was measured of a version for change control, and what a criterion says of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from services.trainer.metrics import Labels, proportion


@dataclass(frozen=True)
class Count:
    """So many of so many."""

    count: int
    of: int

    @property
    def share(self) -> float:
        """NaN where it is of none."""
        return self.count / self.of if self.of else math.nan

    def points_above(self, other: Count) -> float:
        """Percentage points above another count of as many; exact where it is a whole number."""
        return 100 * (self.count - other.count) / self.of if self.of else math.nan

    def __str__(self) -> str:
        return f"{self.share:.1%} ({self.count} of {self.of})"


@dataclass(frozen=True)
class Figures:
    """What was measured of one version on the n images of a test set."""

    predicted: Labels
    """Class indices, shape (n,); none of them where the version gave no number."""
    ece: float
    routine: Count
    """Of the malignant images those whose urgency would be routine."""
    flagged: Count
    """Of all images those that would be flagged for review."""
    robust: Count
    """Of all changed images those that were told right."""
    images_per_second: float
    artefact_bytes: int


@dataclass(frozen=True)
class Criterion:
    """Whether the limits of one figure are kept; `detail` says in a sentence what was found."""

    name: str
    passed: bool
    detail: str
    candidate: Any = None
    champion: Any = None
    limits: BaseModel | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain data; what is no number is None."""
        return {
            "name": self.name,
            "passed": self.passed,
            "candidate": _plain(self.candidate),
            "champion": _plain(self.champion),
            "limits": {} if self.limits is None else self.limits.model_dump(mode="json"),
            "detail": self.detail,
        }


def criterion(
    name: str,
    found: str,
    objections: Mapping[str, bool],
    *,
    candidate: object = None,
    champion: object = None,
    limits: BaseModel | None = None,
) -> Criterion:
    """Join what is kept and what is not.

    Args:
        name: Of the criterion.
        found: What was found, without a full stop.
        objections: What is said of each limit that is not kept, and whether it is kept.
        candidate: The candidate's figure.
        champion: The champion's; None: there is none.
        limits: As the policy has them.
    """
    broken = [objection for objection, kept in objections.items() if not kept]
    detail = f"{found}: {'; '.join(broken)}." if broken else f"{found}."
    return Criterion(name, not broken, detail, candidate, champion, limits)


def _plain(figure: Any) -> Any:
    if isinstance(figure, Count):
        return proportion(figure.count, figure.of)
    return None if isinstance(figure, float) and not math.isfinite(figure) else figure
