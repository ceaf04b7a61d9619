"""Reads how the drift of a model version went over the looks that are kept."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from sqlalchemy import text

from shared.db.session import Sessions, execute
from shared.monitoring.results import Version

_POINTS = 300

# The highest of each step: what is thinned out must not hide an alert.
_HISTORY = text(
    """
    SELECT m.measure, max(w.window_to) AS at, max(m.psi) AS psi, max(m.noise) AS noise,
        bool_or(m.alert) AS alert
    FROM drift_windows AS w JOIN drift_measures AS m ON m.window_id = w.id
    WHERE w.window_to > statement_timestamp() - CAST(:span AS interval)
        AND m.model_name = :name AND m.model_version = :version
    GROUP BY m.measure, date_bin(CAST(:step AS interval), w.window_to, TIMESTAMPTZ 'epoch')
    ORDER BY m.measure, at
    """
)


@dataclass(frozen=True)
class Past:
    """A measure at a time: PSI and its noise, None where there was no verdict."""

    at: dt.datetime
    psi: float | None
    noise: float | None
    alert: bool


def drift_history(
    sessions: Sessions, version: Version, span: dt.timedelta
) -> dict[str, list[Past]]:
    """The drift of a version by measure, oldest first; of many looks, the worst of each step.

    Args:
        sessions: The database.
        version: The version.
        span: How far back; a step is a 300th of it.
    """
    values = {"name": version.name, "version": version.number}
    rows = execute(sessions, _HISTORY, {**values, "span": span, "step": span / _POINTS})
    history: dict[str, list[Past]] = {}
    for row in rows:
        past = Past(row.at, row.psi, row.noise, row.alert)
        history.setdefault(row.measure, []).append(past)
    return history
