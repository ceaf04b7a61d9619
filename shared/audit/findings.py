"""What a verification of the audit trail found."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

MOST_LISTED = 100
"""So many findings are told one by one; all are counted."""


class Problem(StrEnum):
    """What may be wrong with the chain."""

    # The event, or its seal, is not what was sealed.
    ALTERED = "altered"
    # The seal is there and the event is not.
    EVENT_MISSING = "event_missing"
    # Neither seals nor, perhaps, events of these positions are there.
    SEALS_MISSING = "seals_missing"
    # A position is there twice.
    REPEATED = "repeated"
    # The chain begins late, and no event of pruning says why; or earlier than may be pruned.
    BEGINNING_CUT = "beginning_cut"
    # A checkpoint is of a position behind the end of the chain.
    TAIL_CUT = "tail_cut"
    # A checkpoint has another hash than the chain.
    CHECKPOINT_DIFFERS = "checkpoint_differs"
    CHECKPOINT_FORGED = "checkpoint_forged"
    CHECKPOINT_UNKNOWN_KEY = "checkpoint_unknown_key"
    CHECKPOINT_UNSIGNED = "checkpoint_unsigned"
    # It is in the database or in the object store, and not in the other.
    CHECKPOINT_MISSING = "checkpoint_missing"
    # A key is known, and no checkpoint that is signed by one reaches to events of some age.
    UNCOVERED = "uncovered"
    # Written, under a low id, long after those around it were sealed.
    INSERTED_LATE = "inserted_late"
    # No sealing for longer than it takes.
    UNSEALED = "unsealed"
    # A line of an exported file, or the object of the newest state, is not what was written.
    MALFORMED = "malformed"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        position: The first position that it is about; None where there is none.
        event_id: The event's row; None where it is about none.
    """

    problem: Problem
    position: int | None
    event_id: int | None
    detail: str


@dataclass
class Report:
    """The outcome of a verification.

    Attributes:
        events: How many sealed events were looked at.
        begins: The first position; None where there is none.
        position: The last position; 0 where there is none.
        hash: The hash of the chain there.
        checkpoints: How many checkpoints were compared.
        covered: The last position under a signature that was checked; 0 without one.
        covered_at: When that checkpoint was made.
        unsealed: Events that have no place yet.
        findings: The first of what is wrong.
        found: How much is wrong.
        warnings: What could not be checked.
    """

    events: int = 0
    begins: int | None = None
    position: int = 0
    hash: bytes = b""
    checkpoints: int = 0
    covered: int = 0
    covered_at: str | None = None
    unsealed: int = 0
    findings: list[Finding] = field(default_factory=list)
    found: int = 0
    warnings: list[str] = field(default_factory=list)

    def add(
        self, problem: Problem, position: int | None, event_id: int | None, detail: str
    ) -> None:
        """Tell of something that is wrong."""
        self.found += 1
        if len(self.findings) < MOST_LISTED:
            self.findings.append(Finding(problem, position, event_id, detail))
