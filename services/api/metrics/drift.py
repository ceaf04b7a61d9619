"""The newest look at drift, and the results in its window."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import GaugeMetricFamily, Metric

from shared.db.session import Sessions
from shared.monitoring.drift import FALSE_ALARM, Level
from shared.monitoring.windows import Finding, Window, newest_window

_OF_MEASURE = ("model", "measure")
_LEVELS = {Level.OK: 0, Level.WATCH: 1, Level.ALERT: 2}

_GAUGES: dict[str, tuple[str, Callable[[Finding], float | None]]] = {
    "hemotriage_drift_psi": (
        "Population stability index of the window against the version's reference.",
        lambda finding: finding.drift.psi,
    ),
    "hemotriage_drift_psi_noise": (
        f"What it exceeds by noise alone in one of {1 / FALSE_ALARM:.0f} windows of this size.",
        lambda finding: finding.drift.noise,
    ),
    "hemotriage_drift_ks": (
        "Kolmogorov-Smirnov statistic of the window against the version's reference, 0 to 1.",
        lambda finding: finding.drift.ks,
    ),
    "hemotriage_drift_ks_p_value": (
        "Asymptotic p-value of the Kolmogorov-Smirnov statistic.",
        lambda finding: finding.drift.ks_p,
    ),
    "hemotriage_drift_fields": (
        "Smear fields of the window that have the measure.",
        lambda finding: finding.drift.fields,
    ),
    "hemotriage_drift_level": (
        "0 ok, 1 watch, 2 alert; absent where there is no verdict.",
        lambda finding: _LEVELS.get(finding.drift.level),
    ),
    "hemotriage_drift_alert": (
        "1 from the level alert until the measure is calm again, else 0.",
        lambda finding: finding.alert,
    ),
}


def families(sessions: Sessions) -> Iterator[Metric]:
    """Gauges by model version and measure, counts of results, and the window itself."""
    window = newest_window(sessions)
    if window is None:
        return
    for name, (text, value) in _GAUGES.items():
        yield _gauge(name, text, value, window)
    yield _without_verdict(window)
    yield _results(window)
    yield _moment(window)


def _gauge(
    name: str, text: str, value: Callable[[Finding], float | None], window: Window
) -> Metric:
    gauge = GaugeMetricFamily(name, text, labels=_OF_MEASURE)
    for finding in window.findings:
        known = value(finding)
        if known is not None:
            gauge.add_metric(_labels(finding), known)
    return gauge


def _without_verdict(window: Window) -> Metric:
    gauge = GaugeMetricFamily(
        "hemotriage_drift_without_verdict",
        "1 where there is no verdict: too_few images, or no_reference in the version's card.",
        labels=(*_OF_MEASURE, "why"),
    )
    for finding in window.findings:
        if not finding.drift.level.is_verdict:
            gauge.add_metric([*_labels(finding), finding.drift.level.value], 1)
    return gauge


def _results(window: Window) -> Metric:
    gauge = GaugeMetricFamily(
        "hemotriage_drift_window_results",
        "Jobs with a result in the window.",
        labels=("model", "prediction", "urgency", "requires_review"),
    )
    for counted in window.results:
        review = str(counted["requires_review"]).lower()
        labels = [counted["model"], counted["prediction"], counted["urgency"], review]
        gauge.add_metric(labels, counted["count"])
    return gauge


def _moment(window: Window) -> Metric:
    return GaugeMetricFamily(
        "hemotriage_drift_window_end_timestamp_seconds",
        "When drift was last looked at, in seconds since the epoch.",
        value=window.window_to.timestamp(),
    )


def _labels(finding: Finding) -> list[str]:
    return [str(finding.version), finding.drift.measure]
