"""What a relay counts of its deliveries."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

_KINDS = ("webhook", "push")
_OUTCOMES = ("delivered", "failed", "given_up")

_ATTEMPTS = Counter(
    "hemotriage_delivery_attempts",
    "Attempts to deliver an event: delivered, failed and due again, or given_up.",
    ["kind", "outcome"],
)
_SECONDS = Histogram(
    "hemotriage_delivery_seconds",
    "Duration of an attempt to deliver an event.",
    ["kind"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)

# A counter that begins at 1 has not risen, by Prometheus' count: the first one would go unseen.
for _kind in _KINDS:
    for _outcome in _OUTCOMES:
        _ATTEMPTS.labels(_kind, _outcome)


def count_delivery(kind: str, outcome: str, *, seconds: float) -> None:
    """Count an attempt, of a `webhook` or a `push`."""
    _ATTEMPTS.labels(kind, outcome).inc()
    _SECONDS.labels(kind).observe(seconds)
