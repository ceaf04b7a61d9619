"""In which precision a version runs: full, or a lower one whose parity gate it has passed."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal, get_args

from shared.errors import PermanentError
from shared.models.registry import ModelVersion
from shared.settings import InferenceSettings

Precision = Literal["f32", "bf16", "int8"]
"""The arithmetic of a network's convolutions; `f32` is what every version was measured in."""

FULL: Precision = "f32"
_LOWEST_FIRST: tuple[Precision, ...] = ("int8", "bf16", "f32")
LOWER: tuple[Precision, ...] = tuple(p for p in get_args(Precision) if p != FULL)


class PrecisionRefusedError(PermanentError):
    """The model did not pass the parity gate of this precision, or this machine lacks it."""

    code = "precision_refused"


def verdicts(version: ModelVersion, engine: str) -> dict[str, dict[str, Any]]:
    """What the parity gate said of a version in an engine, by precision."""
    found: dict[str, dict[str, Any]] = version.card.get("precisions", {}).get(engine, {})
    return found


def choose_precision(
    version: ModelVersion, settings: InferenceSettings, supported: Collection[Precision]
) -> Precision:
    """The precision that the settings ask for; for `best` the lowest that is allowed.

    Args:
        version: The version.
        settings: Its engine and its precision.
        supported: What the engine computes fast on this machine.

    Raises:
        PrecisionRefusedError: The asked precision has no passed verdict, or is not supported.
    """
    passed = {FULL}
    passed |= {p for p in LOWER if verdicts(version, settings.engine).get(p, {}).get("passed")}
    if settings.precision == "best":
        return next(p for p in _LOWEST_FIRST if p in passed and p in supported)
    if settings.precision not in supported:
        raise PrecisionRefusedError(f"{settings.engine} has no {settings.precision} here.")
    if settings.precision not in passed:
        raise PrecisionRefusedError(
            f"{version} has no passed verdict for {settings.precision} in {settings.engine}."
        )
    return settings.precision
