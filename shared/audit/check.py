"""Follows a chain link by link, and compares it with checkpoints on the way; keeps nothing else."""

from __future__ import annotations

import datetime as dt
from collections import deque

from shared.audit.chain import Link, link_hash
from shared.audit.checkpoint import Checkpoint
from shared.audit.findings import Problem, Report
from shared.audit.signing import PublicKeys, Signature

LATE = dt.timedelta(minutes=15)
"""No transaction of ours is open for so long: an event with an older id was put in by hand."""

_OF_SIGNATURE = {
    Signature.FORGED: (Problem.CHECKPOINT_FORGED, "its signature is wrong"),
    Signature.UNKNOWN: (Problem.CHECKPOINT_UNKNOWN_KEY, "it is signed by a key that is not known"),
}


class ChainCheck:
    """One walk along a chain, in the order of positions."""

    def __init__(self, report: Report, keys: PublicKeys | None) -> None:
        """Begin.

        Args:
            report: Takes what is found.
            keys: What checkpoints may be signed by; None: signatures are not checked.
        """
        self.report = report
        self._keys = keys
        self._previous: bytes | None = None
        self._last_id: int | None = None
        self._signed = self._unsigned = False
        self._sealed_until: deque[tuple[dt.datetime, int]] = deque()
        self.settled_id: int | None = None

    def begin(self, position: int, previous: bytes | None) -> None:
        """Say where the chain begins, and which hash is before it; None: it is not known."""
        self.report.begins, self.report.position = position, position - 1
        self.report.hash, self._previous = previous or b"", previous

    def link(self, link: Link) -> None:
        """Look at the next event."""
        report = self.report
        if link.position <= report.position:
            report.add(Problem.REPEATED, link.position, link.event_id, "a position is there twice")
            return
        if link.position > report.position + 1:
            missing = f"positions {report.position + 1} to {link.position - 1} are missing"
            report.add(Problem.SEALS_MISSING, report.position + 1, None, missing)
            self._previous = None
        report.events += 1
        self._look(link)
        if self.settled_id is not None and link.event_id < self.settled_id:
            text = "it was written long after the events around its id"
            report.add(Problem.INSERTED_LATE, link.position, link.event_id, text)
        # What follows is judged by what is there, so that one change is told once.
        report.position, report.hash, self._previous = link.position, link.hash, link.hash
        self._last_id = link.event_id

    def _look(self, link: Link) -> None:
        if link.event is None:
            text = "the event was removed"
            self.report.add(Problem.EVENT_MISSING, link.position, link.event_id, text)
        elif (
            self._previous is not None
            and link_hash(self._previous, link.position, link.event) != link.hash
        ):
            text = "the event, or its seal, is not what was sealed"
            self.report.add(Problem.ALTERED, link.position, link.event_id, text)

    def checkpoint(self, checkpoint: Checkpoint, where: str) -> None:
        """Compare the chain, which must be at its position, with a checkpoint."""
        self.report.checkpoints += 1
        if self.compare(checkpoint.position, checkpoint.hash, where) and self.judge(
            checkpoint, where
        ):
            self.report.covered = max(self.report.covered, checkpoint.position)
            self.report.covered_at = checkpoint.at

    def compare(self, position: int, digest: bytes, where: str) -> bool:
        """Whether the chain, which must be at this position, has this hash."""
        if digest == self.report.hash:
            return True
        text = f"the chain up to here is not the one of the checkpoint in {where}"
        self.report.add(Problem.CHECKPOINT_DIFFERS, position, self._last_id, text)
        return False

    def judge(self, checkpoint: Checkpoint, where: str) -> bool:
        """Look at a checkpoint's signature; returns whether it is one that counts."""
        if self._keys is None:
            return False
        found = self._keys.judge(checkpoint)
        if found in _OF_SIGNATURE:
            problem, text = _OF_SIGNATURE[found]
            self.report.add(problem, checkpoint.position, None, f"checkpoint in {where}: {text}")
        elif found is Signature.UNSIGNED:
            self._unsigned = True
            if self._signed:
                text = f"the checkpoint in {where} is unsigned, earlier ones are signed"
                self.report.add(Problem.CHECKPOINT_UNSIGNED, checkpoint.position, None, text)
        self._signed = self._signed or found is Signature.VALID
        return found is Signature.VALID

    def passes(self, checkpoint: Checkpoint) -> None:
        """Learn which ids were sealed at the moment of a checkpoint of the database."""
        try:
            at = dt.datetime.fromisoformat(checkpoint.at)
        except ValueError:
            return  # no year that there is: its signature tells
        if self._last_id is not None:
            self._sealed_until.append((at, self._last_id))
        while self._sealed_until and self._sealed_until[0][0] <= at - LATE:
            self.settled_id = self._sealed_until.popleft()[1]

    def end(self) -> None:
        """Judge what only the whole tells."""
        if self._keys is None:
            self.report.warnings.append("signatures were not checked: no public key was given")
        elif self._unsigned and not self._signed:
            text = "a key is known, and no checkpoint is signed by it"
            self.report.add(Problem.CHECKPOINT_UNSIGNED, self.report.position, None, text)
        elif not self._signed and self.report.events:
            self.report.warnings.append("no checkpoint was there to be checked")
