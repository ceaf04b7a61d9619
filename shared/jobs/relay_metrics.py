"""What a relay counts of its passes."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

_DONE, _FAILED = "done", "failed"
_ENDINGS = ("requeued", "dead")

PASS_SECONDS = Histogram(
    "hemotriage_relay_pass_seconds",
    "Duration of a pass: sweep, then send what is due.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
_PARTS = Counter(
    "hemotriage_relay_parts",
    "Halves of passes, sweep and send, that were done or failed.",
    ["part", "outcome"],
)
_LEASES = Counter(
    "hemotriage_leases_ran_out",
    "Jobs taken from a worker that fell silent: requeued, or dead.",
    ["ending"],
)
EXPIRED = Counter("hemotriage_jobs_expired", "Jobs that waited until their time was over.")
ANNOUNCED_AGAIN = Counter(
    "hemotriage_messages_announced_again", "Jobs whose message the broker had lost."
)
SENT = Counter(
    "hemotriage_relay_messages_sent", "Messages that the relay sent in the place of their writer."
)

# A counter that begins at 1 has not risen, by Prometheus' count: the first one would go unseen.
for _ending in _ENDINGS:
    _LEASES.labels(_ending)
for _part in ("sweep", "send"):
    for _outcome in (_DONE, _FAILED):
        _PARTS.labels(_part, _outcome)


def count_part(part: str, *, is_done: bool) -> None:
    """Count half a pass, `sweep` or `send`."""
    _PARTS.labels(part, _DONE if is_done else _FAILED).inc()


def count_leases(*, requeued: int, dead: int) -> None:
    """Count jobs whose lease ran out, by what became of them."""
    for ending, jobs in zip(_ENDINGS, (requeued, dead), strict=True):
        _LEASES.labels(ending).inc(jobs)
