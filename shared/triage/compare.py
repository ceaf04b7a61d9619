"""Tells in what two result documents differ, field by field."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

ABSENT: Final = "(absent)"
"""Stands where a document lacks what the other has."""

_TOLERANCE = 1e-6
_TOLERANCES = {"distance": 0.0011}
"""Of the last part of a pointer. The engine gives the same numbers whatever is in its batch, but
the distances to training images are products of matrices, which round by the size of the batch: by
1e-11 in `unlikeness`, by 1e-5 in the distances of `similar`, which are then rounded to 0.001."""


@dataclass(frozen=True)
class Difference:
    """One field of two documents that is not the same."""

    pointer: str
    """JSON pointer, RFC 6901."""
    recorded: Any
    now: Any

    @property
    def by(self) -> float | None:
        """How far two numbers lie apart; None where one of them is no number."""
        pair = (self.recorded, self.now)
        if any(isinstance(one, bool) or not isinstance(one, int | float) for one in pair):
            return None
        return float(abs(self.recorded - self.now))

    @property
    def is_rounding(self) -> bool:
        """Whether the size of a batch explains it."""
        limit = _TOLERANCES.get(self.pointer.rpartition("/")[2], _TOLERANCE)
        return self.by is not None and self.by <= limit

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        shown = {"pointer": self.pointer, "recorded": self.recorded, "now": self.now}
        return {**shown, "difference": self.by, "rounding": self.is_rounding}


def differences(recorded: Any, now: Any, pointer: str = "") -> list[Difference]:
    """Every field in which two documents differ, in the order of the first; nothing is equated.

    Args:
        recorded: Plain data, as JSON gives it.
        now: What it is compared with.
        pointer: Where both lie within their documents.
    """
    return list(_walk(recorded, now, pointer))


def _walk(recorded: Any, now: Any, pointer: str) -> Iterator[Difference]:
    if isinstance(recorded, dict) and isinstance(now, dict):
        for name in [*recorded, *(name for name in now if name not in recorded)]:
            part = str(name).replace("~", "~0").replace("/", "~1")
            pair = recorded.get(name, ABSENT), now.get(name, ABSENT)
            yield from _walk(*pair, f"{pointer}/{part}")
    elif isinstance(recorded, list) and isinstance(now, list):
        for index in range(max(len(recorded), len(now))):
            pair = _at(recorded, index), _at(now, index)
            yield from _walk(*pair, f"{pointer}/{index}")
    elif recorded != now or isinstance(recorded, bool) != isinstance(now, bool):
        yield Difference(pointer, recorded, now)


def _at(values: list[Any], index: int) -> Any:
    return values[index] if index < len(values) else ABSENT
