"""Puts together all that is said of a soak, and whether it is good."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from services.trainer.code_version import code_version
from tests.faults.verdict import Verdict
from tests.soak.growth import Growth, Piece, growth
from tests.soak.latency import Latency
from tests.soak.load import Trouble
from tests.soak.logs import Line, Window, unexplained
from tests.soak.plan import Plan
from tests.soak.samples import Sample, pieces_of

_MEBIBYTE = 2**20
_LONG_MINUTES = 45
_AS_NEEDED = {"trainer, children", "shadow, children", "worker, children", "worker-stat, children"}
"""They are there while a run trains, or a job is alone, and may be gone too soon to be judged."""
_SHOWN = 20
_SHOWN_OF_A_LINE = 300
_ID_OR_NUMBER = re.compile(r"[0-9a-f]{8,}(-[0-9a-f]+)*|\d+")


@dataclass
class Outcome:
    """All that a soak came to. A soak is good if it has no complaint."""

    minutes: float
    capacity: float
    rate: float
    verdict: Verdict
    posts: int = 0
    refused: int = 0
    cancelled: int = 0
    webhooks: int = 0
    growths: dict[str, Growth | None] = field(default_factory=dict)
    memory: dict[str, list[Piece]] = field(default_factory=dict)
    """What the growths rest on: by role, seconds after the warm-up and bytes."""
    latencies: list[Latency] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    lines: int = 0
    servers: dict[str, tuple[float, float]] = field(default_factory=dict)
    code: dict[str, str | None] = field(default_factory=code_version)
    notes: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether nothing was wrong."""
        return not self.complaints

    def complain(self, complaints: Sequence[str]) -> None:
        """Note what is wrong; of very many the first ones."""
        self.complaints += complaints[:_SHOWN]
        if len(complaints) > _SHOWN:
            self.complaints.append(f"and {len(complaints) - _SHOWN} more of these")

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        shares = {role: found and found.share for role, found in self.growths.items()}
        return {**asdict(self), "growth": shares, "good": self.is_good}


def judge_verdict(outcome: Outcome) -> None:
    """No job is lost, none is doubled, each result is the one of its version."""
    verdict = outcome.verdict
    if verdict.lost or verdict.doubled:
        outcome.complain([f"{verdict.lost} lost, {verdict.doubled} doubled"])
    outcome.complain(verdict.complaints)


def judge_memory(
    outcome: Outcome,
    samples: Sequence[Sample],
    breaks: dict[str, list[float]],
    plan: Plan,
    *,
    begin: float,
) -> None:
    """No role grows by more than the limit over the run.

    Args:
        outcome: What is added to.
        samples: All of them.
        breaks: See `tests.soak.samples.pieces_of`.
        plan: Its times.
        begin: When the warm-up was over, by the wall clock.
    """
    steady = [sample for sample in samples if sample.at >= begin]
    duration = plan.seconds - plan.warm_up
    valkey = [(one.at, one.servers["valkey_bytes"]) for one in steady if one.servers]
    every = {**pieces_of(steady, breaks), "valkey, its data": _cut(valkey, breaks)}
    for role, pieces in every.items():
        outcome.growths[role] = growth(pieces, duration=duration, settle=plan.settle)
        outcome.memory[role] = [[(at - begin, held) for at, held in piece] for piece in pieces]
    grown = [
        f"{role} grows by {100 * found.share:.1f} % of {found.median / _MEBIBYTE:.0f} MiB"
        for role, found in outcome.growths.items()
        if found is not None and not found.is_flat
    ]
    outcome.complain(grown)
    _keep_servers(outcome, [one.servers for one in steady if one.servers])


def judge_coverage(outcome: Outcome) -> None:
    """A long run judges every role and every priority: what was not seen is not known to be good.

    A short one is over before a process that was restarted is full again.
    """
    if outcome.minutes < _LONG_MINUTES:
        return
    judged = {role for role, found in outcome.growths.items() if found and found.is_judged}
    unseen = sorted(outcome.growths.keys() - judged - _AS_NEEDED)
    outcome.complain([f"the memory of {role} was not seen for long enough" for role in unseen])
    few = [one.priority for one in outcome.latencies if None in {one.first, one.last}]
    outcome.complain([f"too few jobs are {priority} for a p95" for priority in few])


def _cut(series: list[tuple[float, float]], breaks: dict[str, list[float]]) -> list[Piece]:
    """A series of no process of its own, cut where all series are."""
    cuts = [-np.inf, *sorted(breaks.get("", [])), np.inf]
    pairs = itertools.pairwise(cuts)
    return [[one for one in series if begin <= one[0] < end] for begin, end in pairs]


def _keep_servers(outcome: Outcome, seen: Sequence[dict[str, float]]) -> None:
    for name in seen[0] if seen else ():
        outcome.servers[name] = (seen[0][name], seen[-1][name])


def judge_answers(outcome: Outcome, troubles: Sequence[Trouble]) -> None:
    """No error but those that an event explains."""
    outcome.complain(
        [
            f"an answer that no event explains: {one.what} at {one.at:.0f}"
            for one in troubles
            if not any(w.explains_answer(one.at, one.what) for w in outcome.windows)
        ]
    )


def judge_lines(outcome: Outcome, lines: Sequence[Line]) -> None:
    """No warning and no error in a log but those that an event explains."""
    outcome.lines = len(lines)
    alike: dict[tuple[str, str], list[Line]] = defaultdict(list)
    for line in unexplained(lines, outcome.windows):
        alike[line.process, _ID_OR_NUMBER.sub("#", line.text)].append(line)
    outcome.complain(
        [
            f"{len(of)} x {of[0].process} {of[0].level}, first: {of[0].text[:_SHOWN_OF_A_LINE]}"
            for of in alike.values()
        ]
    )


def judge_latencies(outcome: Outcome) -> None:
    """Latency is kept, and a stat job's is bounded."""
    outcome.complain([one.complaint for one in outcome.latencies if one.complaint])
