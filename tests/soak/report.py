"""A soak's outcome as a page of Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from shared.cores import usable_cores
from tests.soak.growth import LIMIT
from tests.soak.judging import Outcome

_MEBIBYTE = 2**20
_METHOD = f"""Memory is what a process holds of its own (`Pss_Anon` in `smaps_rollup` of /proc: heap
and stacks), without files that the page cache holds and without PostgreSQL's shared buffers. The
slope is a Theil-Sen estimate: the median of the slopes between any two samples of one process,
weighted by how far apart they are. A restart, or a model that is loaded, cuts a series in two, and
the beginning of each piece does not count. Growth is the slope times the whole time after the
warm-up, as a share of the median; {100 * LIMIT:.0f} % is a failure.
"""


def report(outcome: Outcome) -> str:
    """The page."""
    parts = [
        f"# Soak of {outcome.minutes:g} minutes: {'good' if outcome.is_good else 'FAILED'}",
        f"hemotriage {outcome.code['package']}, commit {outcome.code['commit']}; "
        f"{usable_cores()} cores.",
        _counts(outcome),
        "## Memory",
        _METHOD,
        _memory(outcome),
        "## Latency, seconds from arrival to result, outside of what events disturb",
        _latency(outcome),
        "## Servers",
        _table(("", "at first", "at last"), _servers(outcome)),
        "## Events",
        _table(("event", "seconds"), _events(outcome)),
        "## Notes",
        "\n".join(f"- {note}" for note in outcome.notes),
        "## Complaints",
        "\n".join(f"- {complaint}" for complaint in outcome.complaints) or "None.",
    ]
    return "\n\n".join(parts) + "\n"


def _counts(outcome: Outcome) -> str:
    verdict = outcome.verdict
    row = (
        f"{outcome.rate:.1f} of {outcome.capacity:.1f}",
        verdict.accepted,
        verdict.finished,
        verdict.lost,
        verdict.doubled,
        outcome.cancelled,
        outcome.refused,
        outcome.webhooks,
        outcome.lines,
    )
    names = ("jobs/s", "accepted", "ended as they must", "lost", "doubled")
    more = ("cancelled", "bad uploads", "webhooks", "warnings and errors in logs")
    return _table((*names, *more), [row])


def _memory(outcome: Outcome) -> str:
    rows = []
    for role, found in sorted(outcome.growths.items()):
        if found is None:
            rows.append((role, "", "", "", "too short to tell"))
            continue
        rows.append(
            (
                role,
                f"{found.median / _MEBIBYTE:.1f}",
                f"{found.slope * 3600 / _MEBIBYTE:+.2f}",
                f"{found.covered:.0f}",
                f"{100 * found.share:+.2f} %" + ("" if found.is_judged else ", not judged"),
            )
        )
    return _table(("process", "MiB, median", "MiB an hour", "of seconds", "growth"), rows)


def _latency(outcome: Outcome) -> str:
    def shown(seconds: float | None) -> str:
        return "" if seconds is None else f"{seconds:.3f}"

    rows = [
        (one.priority, one.jobs, *map(shown, (one.p50, one.p95, one.first, one.last)))
        for one in outcome.latencies
    ]
    return _table(("priority", "jobs", "p50", "p95", "first quarter p95", "last quarter p95"), rows)


def _servers(outcome: Outcome) -> list[tuple[str, str, str]]:
    return [
        (name, f"{first:,.0f}", f"{last:,.0f}") for name, (first, last) in outcome.servers.items()
    ]


def _events(outcome: Outcome) -> list[tuple[str, str]]:
    return [(one.event, f"{one.end - one.begin:.0f}") for one in outcome.windows]


def _table(names: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
