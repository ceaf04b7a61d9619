"""What becomes of an attempt that raised, in every queue whose rows are tried again."""

from __future__ import annotations

from dataclasses import dataclass

from shared.errors import HemotriageError, PermanentError, TransientError


@dataclass(frozen=True)
class Verdict:
    """Of one attempt. Without a code its row goes back to the queue."""

    counts: bool
    """Whether it is a failure that counts towards the last one."""
    code: str | None = None
    detail: str | None = None
    """Why the row is failed."""


def verdict_on(error: Exception, *, failures: int, max_attempts: int, abandoned: str) -> Verdict:
    """Judge an error.

    A `PermanentError` fails the row at once. A `TransientError` is an outage of something else, and
    counts nothing. Anything else counts, and is the last with `max_attempts`.

    Args:
        error: What the attempt raised.
        failures: Those before it that counted.
        max_attempts: As many of these are the last.
        abandoned: The code of a row that was tried as often as allowed.
    """
    if isinstance(error, PermanentError):
        return Verdict(counts=False, code=error.code, detail=str(error))
    if isinstance(error, TransientError):
        return Verdict(counts=False)
    if failures + 1 < max_attempts:
        return Verdict(counts=True)
    # Of an error that is none of ours the type alone: its text may hold anything.
    said = str(error) if isinstance(error, HemotriageError) else type(error).__name__
    return Verdict(counts=True, code=abandoned, detail=f"Its last attempt: {said}")
