"""Looks at the results of a window of time, and keeps what it found of drift.

An alert begins when a measure's level is `alert` and ends when it is calm again: what lies between
keeps it, so that a value at the border does not begin and end one at each look. It ends too when
the window has no result of its version.
"""

from __future__ import annotations

import datetime as dt
import logging
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, func, insert, select
from sqlalchemy.orm import Session

from shared import audit
from shared.db.models import DriftMeasureRow, DriftWindowRow
from shared.db.session import Sessions
from shared.errors import UnknownModelError
from shared.models.registry import Versions
from shared.monitoring.drift import Drift, Level, compare
from shared.monitoring.results import Version, count_results, newest_fields
from shared.settings import Settings

_log = logging.getLogger(__name__)
_ACTOR = "service:monitoring"
_LOCK = 727_402
_OF_DRIFT = ("measure", "fields", "psi", "noise", "ks", "ks_p")
_BEGAN, _ENDED = "drift.alert_began", "drift.alert_ended"


@dataclass(frozen=True)
class Finding:
    """What was found of one measure of one version, and whether an alert is on."""

    version: Version
    drift: Drift
    alert: bool

    @property
    def place(self) -> tuple[Version, str]:
        """What an alert is about."""
        return self.version, self.drift.measure


@dataclass(frozen=True)
class Window:
    """One look: the span, counts of all results in it, and the drift of its newest fields."""

    window_from: dt.datetime
    window_to: dt.datetime
    results: tuple[dict[str, Any], ...]
    findings: tuple[Finding, ...]


def look(settings: Settings, sessions: Sessions, registry: Versions) -> Window | None:
    """Look at the window that ends now, if nobody did so within the interval.

    Any number of processes may call this; one of them does it. An alert that begins or ends goes to
    the log and to the audit trail, once.

    Returns:
        What was found; None where it was another's turn or is not time yet.
    """
    with sessions.begin() as session:
        if not session.scalar(select(func.pg_try_advisory_xact_lock(_LOCK))):
            return None
        now = session.scalars(select(func.clock_timestamp())).one()
        before = _newest(session)
        if before is not None and _is_recent(before, now, settings):
            return None
        window = _evaluate(session, settings, registry, now, before)
        _keep(session, window)
        changes = _changes(before, window)
        for action, finding in changes:
            audit.record(session, _ACTOR, action, **_told(finding))
    for action, finding in changes:
        level = logging.WARNING if action == _BEGAN else logging.INFO
        _log.log(level, action, extra=_told(finding))
    return window


def newest_window(sessions: Sessions) -> Window | None:
    """What the last look found; None before the first."""
    with sessions() as session:
        return _newest(session)


def _is_recent(before: Window, now: dt.datetime, settings: Settings) -> bool:
    # A look that lies ahead was before the database's clock was set back.
    interval = dt.timedelta(seconds=settings.monitoring_interval_seconds)
    return now - interval < before.window_to <= now


def _evaluate(
    session: Session,
    settings: Settings,
    registry: Versions,
    now: dt.datetime,
    before: Window | None,
) -> Window:
    since = now - dt.timedelta(seconds=settings.monitoring_window_seconds)
    used = newest_fields(session, since, now, limit=settings.monitoring_max_fields)
    on = {finding.place for finding in before.findings if finding.alert} if before else set()
    findings = [
        Finding(version, drift, _is_on(drift, (version, drift.measure) in on))
        for version, use in used.items()
        for drift in compare(_reference(registry, version), use.observed, use.effective)
    ]
    return Window(since, now, tuple(count_results(session, since, now)), tuple(findings))


def _is_on(drift: Drift, was_on: bool) -> bool:
    if drift.level is Level.NO_REFERENCE:
        return False
    return drift.level is Level.ALERT or (was_on and not drift.is_calm)


def _reference(registry: Versions, version: Version) -> dict[str, Any] | None:
    try:
        reference: dict[str, Any] | None = registry.get(version.name, version.number).card.get(
            "monitoring"
        )
    except UnknownModelError:
        return None
    return reference


def _changes(before: Window | None, after: Window) -> list[tuple[str, Finding]]:
    """The alerts that began and ended between two looks."""
    old = {finding.place: finding for finding in before.findings if finding.alert} if before else {}
    new = {finding.place: finding for finding in after.findings if finding.alert}
    now = {finding.place: finding for finding in after.findings}
    began = [(_BEGAN, new[place]) for place in new.keys() - old.keys()]
    ended = [(_ENDED, now.get(place) or _without_results(old[place])) for place in old.keys() - new]
    return began + ended


def _without_results(finding: Finding) -> Finding:
    return Finding(finding.version, Drift(finding.drift.measure, 0, Level.TOO_FEW), alert=False)


def _told(finding: Finding) -> dict[str, Any]:
    drift = finding.drift
    psi = None if drift.psi is None else round(drift.psi, 3)
    told = {"measure": drift.measure, "level": drift.level.value, "psi": psi}
    return {"model": str(finding.version), **told, "fields": drift.fields}


def _keep(session: Session, window: Window) -> None:
    row = DriftWindowRow(
        window_from=window.window_from,
        window_to=window.window_to,
        results=list(window.results),
    )
    session.add(row)
    session.flush()
    if window.findings:
        session.execute(
            insert(DriftMeasureRow), [_columns(row.id, finding) for finding in window.findings]
        )


def _columns(window_id: int, finding: Finding) -> dict[str, Any]:
    return {
        "window_id": window_id,
        "model_name": finding.version.name,
        "model_version": finding.version.number,
        **{name: getattr(finding.drift, name) for name in _OF_DRIFT},
        "level": finding.drift.level.value,
        "alert": finding.alert,
    }


def _newest(session: Session) -> Window | None:
    row = session.scalar(select(DriftWindowRow).order_by(DriftWindowRow.id.desc()).limit(1))
    if row is None:
        return None
    measures = session.execute(
        select(*DriftMeasureRow.__table__.columns)
        .where(DriftMeasureRow.window_id == row.id)
        .order_by(
            DriftMeasureRow.model_name, DriftMeasureRow.model_version, DriftMeasureRow.measure
        )
    )
    findings = tuple(_finding(measure) for measure in measures)
    return Window(row.window_from, row.window_to, tuple(row.results), findings)


def _finding(row: Row[Any]) -> Finding:
    drift = Drift(level=Level(row.level), **{name: getattr(row, name) for name in _OF_DRIFT})
    return Finding(Version(row.model_name, row.model_version), drift, row.alert)
