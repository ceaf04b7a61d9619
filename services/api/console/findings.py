"""What a result says, in words and with its bounds: for the page of a case and for its report."""

from __future__ import annotations

from dataclasses import dataclass

from services.api.console.words import say as _
from shared.imaging.quality import LIMITS
from shared.triage.result import FieldResult


@dataclass(frozen=True)
class Measure:
    """A measure of image quality: its name, its value and its bound in words.

    `is_met` is None where the bounds of the result's version are not known.
    """

    name: str
    value: str
    bound: str
    is_met: bool | None


def measures(field: FieldResult) -> list[Measure]:
    """The measures of a field's quality; docs/quality.md has their definitions and bounds."""
    is_known = field.quality_version == LIMITS.version
    found = []
    for name, (title, least, most, as_share) in _measures().items():
        if name not in field.quality:
            continue
        value = field.quality[name]
        is_met = (least is None or value >= least) and (most is None or value <= most)
        found.append(
            Measure(
                name=title,
                value=_figure(value, as_share=as_share),
                bound=_bound(least, most, as_share=as_share) if is_known else "–",
                is_met=is_met if is_known else None,
            )
        )
    return found


def _measures() -> dict[str, tuple[str, float | None, float | None, bool]]:
    """Titles, least and greatest values, and whether it is a share of the field."""
    return {
        "focus": (_("Sharpness of detail"), LIMITS.min_focus, None, False),
        "background": (_("Brightness of the plasma (0-255)"), LIMITS.min_background, None, False),
        "bleached": (_("Bleached part of the field"), None, LIMITS.max_bleached, True),
        "contrast": (_("Contrast"), LIMITS.min_contrast, None, True),
        "stained": (_("Stained part of the field"), LIMITS.min_stained, None, True),
        "foreign": (_("Part in colours that no stain has"), None, LIMITS.max_foreign, True),
        "nucleated_cells": (_("Nucleated cells, about"), LIMITS.min_nucleated_cells, None, False),
    }


def _bound(least: float | None, most: float | None, *, as_share: bool) -> str:
    if least is not None:
        return _("at least {value}", value=_figure(least, as_share=as_share))
    if most is not None:
        return _("at most {value}", value=_figure(most, as_share=as_share))
    return "–"


def _figure(value: float, *, as_share: bool) -> str:
    if as_share:
        return f"{100 * value:.1f} %"
    return f"{value:.0f}" if value == round(value) else f"{value:.2f}"
