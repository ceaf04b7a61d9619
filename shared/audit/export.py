"""A part of the audit trail as a file that anybody can verify, without a database.

JSON lines. The first has the format, the time that was asked for, and the checkpoint that the part
begins behind (null at the very beginning); then events, each with its position, the hash of the
chain there and the position of the checkpoint that covers it; and each checkpoint behind the events
that it covers, the last one at the end. `details` is the text that is hashed.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

from sqlalchemy import text

from shared.audit.anchors import Anchors
from shared.audit.chain import FIELDS, GENESIS, Link
from shared.audit.check import ChainCheck
from shared.audit.checkpoint import (
    CHECKPOINT_TEXT,
    Checkpoint,
    CheckpointError,
    checkpoint_of,
    checkpoint_of_row,
)
from shared.audit.findings import Problem, Report
from shared.audit.links import ends, links
from shared.audit.signing import PublicKeys
from shared.db.session import Sessions, execute
from shared.errors import BadRequestError, NotFoundError

FORMAT = "hemotriage-audit-1"

MOST_IN_LINE = 1024**2
"""Characters of a line: an event has some hundred, and thousands for each hundred ids."""

_BEFORE = text(f"""
    SELECT {CHECKPOINT_TEXT} FROM audit_checkpoints WHERE audit_checkpoints.at <= :moment
    ORDER BY position DESC LIMIT 1
""")  # noqa: S608 - no parameter is in the text

_CLOSING = text(f"""
    SELECT {CHECKPOINT_TEXT} FROM audit_checkpoints
    ORDER BY audit_checkpoints.at < :moment,
        CASE WHEN audit_checkpoints.at < :moment THEN -position ELSE position END
    LIMIT 1
""")  # noqa: S608

_IN_FILE = "the file"
_MALFORMED = (
    *(AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError),
    CheckpointError,
)


class NothingToExportError(NotFoundError):
    """No checkpoint covers events of that time."""


class LineTooLongError(BadRequestError):
    """A line of the file is longer than any of an export."""


def export(sessions: Sessions, at_from: dt.datetime | None, at_to: dt.datetime) -> Iterator[str]:
    """The lines of the events that were sealed in a time, from checkpoint to checkpoint.

    They begin behind the last checkpoint at or before `at_from` and end with the first one at or
    after `at_to`, or with the newest: what no checkpoint covers yet is left out.

    Args:
        sessions: The database.
        at_from: None begins with the first event that is there.
        at_to: With a time zone, as `at_from`.

    Raises:
        NothingToExportError: No checkpoint covers events of that time.
    """
    opening = _opening(sessions, at_from)
    closing = [checkpoint_of_row(row) for row in execute(sessions, _CLOSING, {"moment": at_to})]
    begin = 0 if opening is None else opening.position
    if not closing or closing[0].position <= begin:
        raise NothingToExportError
    asked = {"from": at_from and at_from.isoformat(), "to": at_to.isoformat()}
    yield _line(
        {"format": FORMAT, **asked, "checkpoint": None if opening is None else opening.document}
    )
    for covering in Anchors(sessions, None).checkpoints(begin + 1):
        for link in links(sessions, begin, covering.position):
            yield _line(_document(link, covering.position))
        yield _line({"checkpoint": covering.document})
        begin = covering.position
        if begin >= closing[0].position:
            return


def lines_of(file: TextIO) -> Iterator[str]:
    """The lines of a file; none is read that is too long to be held.

    Raises:
        LineTooLongError: A line has more than `MOST_IN_LINE` characters.
    """
    number = 0
    while line := file.readline(MOST_IN_LINE + 1):
        number += 1
        if len(line) > MOST_IN_LINE:
            raise LineTooLongError(f"Line {number} has more than {MOST_IN_LINE} characters.")
        yield line


def verify_export(lines: Iterable[str], keys: PublicKeys | None) -> Report:
    """Verify a file of `export`, line by line.

    Args:
        lines: Of the file.
        keys: What its checkpoints may be signed by; None: signatures are not checked.

    Returns:
        The outcome: whole, if `found` is 0. It says which positions, and up to which checkpoint;
        whether these are all that were asked for is for the reader to see.
    """
    report = Report()
    check = ChainCheck(report, keys)
    closed = False
    for number, line in enumerate(lines, start=1):
        try:
            document = json.loads(line)
            if number == 1:
                _begin(check, document)
            elif "event" in document:
                check.link(_link(document))
            else:
                _close(check, checkpoint_of(document["checkpoint"]))
            closed = "event" not in document
        except _MALFORMED as error:
            detail = f"line {number} is none of an export ({type(error).__name__})"
            report.add(Problem.MALFORMED, report.position + 1, None, detail)
            return report
    if not closed or report.events == 0:
        text_ = "the file does not end with a checkpoint of its last event"
        report.add(Problem.TAIL_CUT, report.position + 1, None, text_)
    check.end()
    return report


def _opening(sessions: Sessions, at_from: dt.datetime | None) -> Checkpoint | None:
    found = execute(sessions, _BEFORE, {"moment": at_from}) if at_from is not None else []
    if found:
        return checkpoint_of_row(found[0])
    first, _ = ends(sessions)
    return Anchors(sessions, None).checkpoint_at(first - 1)


def _document(link: Link, covered_by: int) -> dict[str, Any]:
    return {
        "position": link.position,
        "hash": link.hash.hex(),
        "checkpoint": covered_by,
        "event": link.event,
    }


def _line(document: dict[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False) + "\n"


def _begin(check: ChainCheck, document: dict[str, Any]) -> None:
    if document["format"] != FORMAT:
        raise ValueError
    if document["checkpoint"] is None:
        check.begin(1, GENESIS)
        return
    opening = checkpoint_of(document["checkpoint"])
    check.begin(opening.position + 1, opening.hash)
    check.checkpoint(opening, _IN_FILE)


def _link(document: dict[str, Any]) -> Link:
    event = document["event"]
    if event is not None:
        event = {name: event[name] for name in FIELDS}
        if not all(value is None or isinstance(value, str) for value in event.values()):
            raise TypeError
    event_id = int(event["id"]) if event else 0
    return Link(int(document["position"]), event_id, bytes.fromhex(document["hash"]), event)


def _close(check: ChainCheck, checkpoint: Checkpoint) -> None:
    if checkpoint.position != check.report.position:
        raise ValueError
    check.checkpoint(checkpoint, _IN_FILE)
