"""What became of the models in use: drift, results, and whether readers agree."""

from __future__ import annotations

import datetime as dt
from typing import Any

from flask import Blueprint, request

from services.api.console.rendering import page
from services.api.console.visitor import needs
from services.api.context import context
from shared.auth.keys import Scope
from shared.errors import UnknownModelError
from shared.models.registry import parse_reference
from shared.monitoring.history import Past, drift_history
from shared.monitoring.results import Version
from shared.monitoring.windows import Window, newest_window
from shared.reviews.agreement import agreements
from shared.reviews.trends import Bin, Week, by_confidence, weekly

_DAYS = (1, 7, 30)


def add(bp: Blueprint) -> None:
    """Add these pages."""
    bp.add_url_rule("/monitoring", "monitoring", show_monitoring)


@needs(Scope.READ)
def show_monitoring() -> str:
    """The newest look at drift, and how one version did over time."""
    sessions = context().sessions
    window = newest_window(sessions)
    agreeing = agreements(sessions)
    known = _known(window, [found.model for found in agreeing])
    version = _chosen(known)
    days = next((days for days in _DAYS if str(days) == request.args.get("days")), _DAYS[0])
    values: dict[str, Any] = {"history": {}, "weeks": [], "bins": []}
    if version is not None:
        history = drift_history(sessions, version, dt.timedelta(days=days))
        values["history"] = {name: _drift_chart(past) for name, past in history.items()}
        values["weeks"] = weekly(sessions, version.name, version.number)
        values["bins"] = by_confidence(sessions, version.name, version.number)
    return page(
        "monitoring.html",
        window=window,
        agreements=agreeing,
        known=known,
        version=version,
        days=days,
        spans=_DAYS,
        results=_results(window, version),
        week_chart=_week_chart(values["weeks"]),
        bin_chart=_bin_chart(values["bins"]),
        **values,
    )


def _known(window: Window | None, reviewed: list[str]) -> list[str]:
    """The versions of which there is something to be shown, those in use first."""
    used = [str(finding.version) for finding in window.findings] if window else []
    return list(dict.fromkeys([*used, *reviewed]))


def _chosen(known: list[str]) -> Version | None:
    wanted = request.args.get("version")
    named = wanted if wanted in known else next(iter(known), None)
    if named is None:
        return None
    try:
        name, number = parse_reference(named)
    except UnknownModelError:
        return None
    return Version(name, number or 0)


def _results(window: Window | None, version: Version | None) -> dict[str, tuple[int, int]]:
    """Results of the window by urgency: how many, and how many of them ask for a look."""
    found: dict[str, tuple[int, int]] = {}
    for counted in window.results if window else ():
        if counted["model"] == str(version):
            jobs, flagged = found.get(counted["urgency"], (0, 0))
            more = counted["count"] if counted["requires_review"] else 0
            found[counted["urgency"]] = jobs + counted["count"], flagged + more
    return found


def _drift_chart(past: list[Past]) -> dict[str, Any]:
    return {
        "x": [one.at.timestamp() for one in past],
        "series": [[_short(one.psi) for one in past], [_short(one.noise) for one in past]],
    }


def _week_chart(weeks: list[Week]) -> dict[str, Any]:
    return {
        "x": [week.at.timestamp() for week in weeks],
        "series": [
            [_short(week.share) for week in weeks],
            [_short(week.interval[0]) for week in weeks],
            [_short(week.interval[1]) for week in weeks],
        ],
    }


def _bin_chart(bins: list[Bin]) -> dict[str, Any]:
    confidences = [_short(one.confidence) for one in bins]
    return {
        "x": confidences,
        "series": [
            [_short(one.share) for one in bins],
            [_short(one.interval[0]) for one in bins],
            [_short(one.interval[1]) for one in bins],
            confidences,  # where a calibrated version lies
        ],
    }


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
