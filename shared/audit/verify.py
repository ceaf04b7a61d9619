"""Verifies the audit trail of the database against its chain and all checkpoints, page by page."""

from __future__ import annotations

import datetime as dt
import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter

from sqlalchemy import text

from shared.audit.anchors import IN_DATABASE, IN_STORE, IN_TAIL, Anchor, Anchors
from shared.audit.chain import GENESIS, Link
from shared.audit.check import ChainCheck
from shared.audit.checkpoint import Checkpoint, CheckpointError
from shared.audit.findings import MOST_LISTED, Problem, Report
from shared.audit.links import ends, links
from shared.audit.prune import PRUNED
from shared.audit.signing import PublicKeys
from shared.db.session import Sessions, execute
from shared.storage import ObjectStore

UNSEALED_SECONDS = 60
"""No event waits longer for its place while a sealer runs."""

UNCOVERED_SECONDS = 900
"""No event waits longer for a signed checkpoint, if checkpoints are signed."""

FOREVER = dt.timedelta.max
"""Nothing may be pruned."""

_UNSEALED = text(f"""
    SELECT count(*) AS waiting, count(*) FILTER (WHERE wrong) AS wrong,
        (array_agg(id ORDER BY id) FILTER (WHERE wrong))[1:{MOST_LISTED}] AS ids
    FROM (
        SELECT id, at NOT BETWEEN now() - make_interval(secs => :seconds)
            AND now() + make_interval(secs => :seconds) OR id < :settled AS wrong
        FROM audit_events AS event
        WHERE NOT EXISTS (SELECT FROM audit_seals AS seal WHERE seal.event_id = event.id)
    ) AS unsealed
""")  # noqa: S608

_PRUNED = text("""
    SELECT max(told) AS furthest, COALESCE(bool_or(told = :position), false) AS is_exact
    FROM (
        SELECT CAST(details ->> 'position' AS bigint) AS told FROM audit_events
        WHERE action = :action AND details ->> 'position' ~ '^[0-9]{1,18}$'
    ) AS pruned
""")

_UNCOVERED = text("""
    SELECT min(seal.position) AS first, count(*) AS events
    FROM audit_seals AS seal JOIN audit_events AS event ON event.id = seal.event_id
    WHERE seal.position > :covered AND seal.position <= :last
        AND event.at NOT BETWEEN CAST(:now AS timestamptz) - make_interval(secs => :seconds)
            AND CAST(:now AS timestamptz) + make_interval(secs => :seconds)
""")

_NOW = text("SELECT CAST(clock_timestamp() AS text)")

_OLDER = text("SELECT CAST(:at AS timestamptz) < now() - make_interval(secs => :seconds)")


@dataclass(frozen=True)
class Expectations:
    """What the trail is measured by.

    Attributes:
        keys: What checkpoints may be signed by; None: signatures are not checked.
        kept: Checkpoints that were kept elsewhere, by where.
        unsealed_seconds: Age at which an event must have its place.
        uncovered_seconds: Age at which a checkpoint that is signed must reach to it, if there are
            keys.
        keep: Events younger than this must not have been pruned, and where it is `FOREVER` none at
            all; None: any may have been.
    """

    keys: PublicKeys | None = None
    kept: tuple[tuple[str, Checkpoint], ...] = ()
    unsealed_seconds: float = UNSEALED_SECONDS
    uncovered_seconds: float = UNCOVERED_SECONDS
    keep: dt.timedelta | None = None


def verify(sessions: Sessions, storage: ObjectStore | None, expected: Expectations) -> Report:
    """Compare each event with the chain, and the chain with each checkpoint.

    Memory is bounded, however long the trail is; events may be written and sealed meanwhile.

    Args:
        sessions: The database.
        storage: Has checkpoints, too; None: those are not looked at.
        expected: Keys and bounds.

    Returns:
        The outcome: whole, if `found` is 0.

    Raises:
        StorageUnavailableError: The object store does not answer.
    """
    report = Report()
    check = ChainCheck(report, expected.keys)
    anchors = Anchors(sessions, storage)
    # Before the end is looked up: what is old by the end of a long walk was not when it began.
    (began,) = execute(sessions, _NOW)
    first, last = ends(sessions)
    _begin(sessions, anchors, check, first, expected.keep)
    kept = [Anchor(found.position, found.hash, where, found) for where, found in expected.kept]
    newest = _newest(report, anchors)
    told = sorted([*kept, *newest], key=attrgetter("position"))
    from_begin = [anchor for anchor in told if anchor.position >= first - 1]
    for anchor in told[: len(told) - len(from_begin)]:
        report.warnings.append(f"the checkpoint in {anchor.where} is of what was pruned")
    merged = heapq.merge(
        anchors.of_database(first - 1),
        anchors.of_store(first - 1),
        from_begin,
        key=attrgetter("position"),
    )
    groups = itertools.groupby(merged, key=attrgetter("position"))
    # Before the store is listed: what is made meanwhile may be in one place alone.
    judge = partial(_judge_presence, report, anchors, anchors.newest_position())
    beyond = _walk(check, judge, links(sessions, first - 1, last), groups)
    _judge_beyond(check, anchors, beyond)
    _judge_unsealed(sessions, check, expected.unsealed_seconds)
    check.end()
    if expected.keys is not None:
        _judge_uncovered(sessions, report, began[0], expected.uncovered_seconds)
    if storage is None:
        report.warnings.append("the checkpoints of the object store were not compared")
    return report


Group = tuple[int, Iterable[Anchor]]
_Judge = Callable[[Sequence[Anchor]], None]


def _newest(report: Report, anchors: Anchors) -> list[Anchor]:
    try:
        return anchors.tail()
    except CheckpointError:
        report.add(Problem.MALFORMED, None, None, f"{IN_TAIL} is no checkpoint")
        return []


def _walk(
    check: ChainCheck, judge: _Judge, links: Iterator[Link], groups: Iterator[Group]
) -> Iterator[Anchor]:
    """Go along the chain; returns the anchors behind its end."""
    group = next(groups, None)
    group = _meet(check, judge, group, groups)
    for link in links:
        check.link(link)
        group = _meet(check, judge, group, groups)
    rest = itertools.chain([group] if group else [], groups)
    return (anchor for _, members in rest for anchor in members)


def _meet(
    check: ChainCheck, judge: _Judge, group: Group | None, groups: Iterator[Group]
) -> Group | None:
    """Compare what is anchored at the position of the walk; returns what comes later."""
    while group is not None and group[0] <= check.report.position:
        members = list(group[1])
        if group[0] == check.report.position:
            for anchor in members:
                _compare(check, anchor)
            judge(members)
        # Else it is where seals are missing, which was told.
        group = next(groups, None)
    return group


def _compare(check: ChainCheck, anchor: Anchor) -> None:
    if anchor.checkpoint is None:
        check.report.checkpoints += 1
        check.compare(anchor.position, anchor.hash, anchor.where)
    else:
        check.checkpoint(anchor.checkpoint, anchor.where)
        if anchor.where == IN_DATABASE:
            check.passes(anchor.checkpoint)


def _judge_presence(
    report: Report, anchors: Anchors, newest: int, members: Sequence[Anchor]
) -> None:
    if not anchors.has_store:
        return
    places = {anchor.where for anchor in members}
    position = members[0].position
    if IN_DATABASE in places and IN_STORE not in places:
        # The newest one may be on its way there.
        if position < newest:
            text = "a checkpoint of the database is not in the object store"
            report.add(Problem.CHECKPOINT_MISSING, position, None, text)
    elif IN_STORE in places and IN_DATABASE not in places and not anchors.is_in_database(position):
        text = "a checkpoint of the object store is not in the database"
        report.add(Problem.CHECKPOINT_MISSING, position, None, text)


def _judge_beyond(check: ChainCheck, anchors: Anchors, beyond: Iterator[Anchor]) -> None:
    """Judge checkpoints behind the end that was read: of what came since, or of what is gone."""
    report = check.report
    for anchor in beyond:
        digest = anchors.hash_at(anchor.position)
        if digest is None:
            text = f"the checkpoint in {anchor.where} reaches to position {anchor.position}"
            report.add(Problem.TAIL_CUT, report.position + 1, None, text)
        elif digest != anchor.hash:
            text = f"the chain is not the one of the checkpoint in {anchor.where}"
            report.add(Problem.CHECKPOINT_DIFFERS, anchor.position, None, text)
        elif anchor.checkpoint is not None:
            check.judge(anchor.checkpoint, anchor.where)


def _begin(
    sessions: Sessions,
    anchors: Anchors,
    check: ChainCheck,
    first: int,
    keep: dt.timedelta | None,
) -> None:
    """Find out what the chain begins with, and whether it may."""
    if first == 1:
        check.begin(1, GENESIS)
        return
    before = first - 1
    anchor = anchors.checkpoint_at(before)
    (told,) = execute(sessions, _PRUNED, {"action": PRUNED, "position": before})
    check.begin(first, None if anchor is None else anchor.hash)
    # Earlier releases told the end of the whole pruning, and removed up to it step by step.
    is_told = told.is_exact or (keep is not None and (told.furthest or 0) >= before)
    if anchor is None or not is_told:
        text = f"positions 1 to {before} are missing, and no event tells that they were pruned"
    elif keep is None or _is_older(sessions, anchor, keep):
        return
    else:
        text = f"positions 1 to {before} are missing before their time: see {anchor.at}"
    check.report.add(Problem.BEGINNING_CUT, 1, None, text)


def _is_older(sessions: Sessions, anchor: Checkpoint, keep: dt.timedelta) -> bool:
    if keep == FOREVER:
        return False
    (found,) = execute(sessions, _OLDER, {"at": anchor.at, "seconds": keep.total_seconds()})
    return bool(found[0])


def _judge_uncovered(sessions: Sessions, report: Report, now: str, seconds: float) -> None:
    """Whoever computes the chain again without the key has no signature for what comes after.

    He may give events any time: one that lies ahead never gets old.
    """
    bounds = {"covered": report.covered, "last": report.position, "now": now, "seconds": seconds}
    (found,) = execute(sessions, _UNCOVERED, bounds)
    if found.events:
        text = (
            f"no signed checkpoint reaches to {found.events} events that are older than "
            f"{seconds:g} s, or lie ahead"
        )
        report.add(Problem.UNCOVERED, found.first, None, text)


def _judge_unsealed(sessions: Sessions, check: ChainCheck, seconds: float) -> None:
    settled = check.settled_id if check.settled_id is not None else -(2**63)
    (found,) = execute(sessions, _UNSEALED, {"seconds": seconds, "settled": settled})
    check.report.unsealed = found.waiting
    listed = found.ids or []
    for event_id in listed:
        text = f"the event has no place in the chain, and is none of the last {seconds:g} s"
        check.report.add(Problem.UNSEALED, None, event_id, text)
    check.report.found += found.wrong - len(listed)
