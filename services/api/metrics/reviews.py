"""How often reviewers agree."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric

from shared.db.session import Sessions
from shared.reviews.agreement import SPAN, agreements

_SPAN = f"the last {SPAN.days} days"


def families(sessions: Sessions) -> Iterator[Metric]:
    """Gauges by model version; nothing of a version without reviews."""
    reviewed = GaugeMetricFamily(
        "hemotriage_reviewed_jobs",
        f"Jobs reviewed in {_SPAN}, each by its newest review.",
        labels=("model", "decision"),
    )
    overridden = GaugeMetricFamily(
        "hemotriage_review_overridden_jobs",
        f"Jobs overridden in {_SPAN}, from the prediction to the reviewer's label.",
        labels=("model", "prediction", "label"),
    )
    share = GaugeMetricFamily(
        "hemotriage_review_agreement_ratio",
        f"Share of the jobs reviewed in {_SPAN} that were confirmed, 0 to 1.",
        labels=("model",),
    )
    bound = GaugeMetricFamily(
        "hemotriage_review_agreement_bound_ratio",
        "Bounds of the 95 % Wilson interval of that share.",
        labels=("model", "bound"),
    )
    for found in agreements(sessions):
        reviewed.add_metric([found.model, "confirm"], found.confirmed)
        reviewed.add_metric([found.model, "override"], found.reviewed - found.confirmed)
        for override in found.overridden:
            labels = [found.model, override.prediction, override.label]
            overridden.add_metric(labels, override.jobs)
        share.add_metric([found.model], found.share)
        for name, value in zip(("lower", "upper"), found.interval, strict=True):
            bound.add_metric([found.model, name], value)
    yield from (reviewed, overridden, share, bound)
