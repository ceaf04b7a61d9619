"""A part of the trail as a file is verified where there is no database."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from typing import Any

import pytest

from shared.audit.anchors import newest_checkpoint
from shared.audit.export import NothingToExportError, export, verify_export
from shared.audit.findings import Report
from shared.audit.set_aside import set_aside
from shared.audit.signing import PublicKeys, SigningKey
from shared.clock import utc_now
from tests.integration.audit.trail import Trail, problems

Change = Callable[[list[dict[str, Any]]], object]


def exported(trail: Trail, at_from: dt.datetime | None = None) -> list[dict[str, Any]]:
    return [json.loads(line) for line in export(trail.sessions, at_from, utc_now())]


def verified(trail: Trail, lines: list[dict[str, Any]], *, public: str | None = None) -> Report:
    keys = PublicKeys([public or trail.key.public])
    return verify_export((json.dumps(line) for line in lines), keys)


def test_an_export_has_each_event_its_place_and_the_checkpoint_that_covers_it(
    attested: Trail,
) -> None:
    lines = exported(attested)
    events = [line for line in lines if "event" in line]
    assert [event["position"] for event in events] == list(range(1, 13))
    assert [event["checkpoint"] for event in events] == [4] * 4 + [8] * 4 + [12] * 4
    assert events[0]["event"]["actor"] == "operator"
    assert json.loads(events[2]["event"]["details"]) == {"number": 2, "of": "Müller"}
    report = verified(attested, lines)
    assert (problems(report), report.events, report.covered) == ([], 12, 12)


def test_a_part_begins_and_ends_with_the_checkpoints_around_it(attested: Trail) -> None:
    (at,) = attested.rows("SELECT at FROM audit_checkpoints WHERE position = 4")[0]
    lines = exported(attested, at)
    report = verified(attested, lines)
    assert (problems(report), report.begins, report.position) == ([], 5, 12)
    lines = [json.loads(line) for line in export(attested.sessions, None, at)]
    report = verified(attested, lines)
    assert (problems(report), report.begins, report.position) == ([], 1, 4)
    with pytest.raises(NothingToExportError):
        exported(attested, utc_now())


CHANGES: list[tuple[Change, tuple[str, int | None, int | None]]] = [
    (lambda lines: lines[3]["event"].update(actor="nobody"), ("altered", 3, 3)),
    (lambda lines: lines[3]["event"].update(details="{}"), ("altered", 3, 3)),
    (lambda lines: lines[3].update(event=None), ("event_missing", 3, 0)),
    (lambda lines: lines.pop(3), ("seals_missing", 3, None)),
    (lambda lines: lines.pop(1), ("seals_missing", 1, None)),
    (lambda lines: lines.insert(4, lines.pop(3)), ("seals_missing", 3, None)),
    (lambda lines: lines.pop(), ("tail_cut", 13, None)),
    (lambda lines: lines.clear(), ("tail_cut", 1, None)),
    (lambda lines: lines[3].update(hash="00" * 32), ("altered", 3, 3)),
    (lambda lines: lines[5]["checkpoint"].update(hash="00" * 32), ("checkpoint_differs", 4, 4)),
    (lambda lines: lines[5]["checkpoint"].update(at="2026"), ("checkpoint_forged", 4, None)),
    (lambda lines: lines[3].pop("hash"), ("malformed", 3, None)),
    (lambda lines: lines[3]["event"].update(actor=7), ("malformed", 3, None)),
    (lambda lines: lines[0].update(format="x"), ("malformed", 1, None)),
]


@pytest.mark.parametrize(("change", "expected"), CHANGES)
def test_a_changed_file_is_found(
    attested: Trail, change: Change, expected: tuple[str, int | None, int | None]
) -> None:
    lines = exported(attested)
    change(lines)
    assert problems(verified(attested, lines))[0] == expected


def test_a_file_that_is_computed_again_is_not_signed(attested: Trail) -> None:
    lines = exported(attested)
    _, other = SigningKey.generate()
    found = problems(verified(attested, lines, public=other.public))
    assert {name for name, *_ in found} == {"checkpoint_unknown_key"}


def test_what_is_no_export_is_told_as_such(attested: Trail) -> None:
    for lines in (["x"], ["[]"], ["{}"], ["\n"]):
        assert problems(verify_export(lines, None))[0] == ("malformed", 1, None)


def test_after_an_older_backup_the_lost_checkpoints_are_set_aside(attested: Trail) -> None:
    kept = newest_checkpoint(attested.sessions)
    assert kept is not None
    attested.tamper(
        "DELETE FROM audit_events WHERE id > 4",
        "DELETE FROM audit_seals WHERE position > 4",
        "DELETE FROM audit_checkpoints WHERE position > 4",
    )
    attested.notary = attested.new_notary()
    assert not attested.notary.attest()
    assert set_aside(attested.sessions, attested.storage) == 3
    attested.checkpoint()
    report = attested.verify()
    assert (problems(report), report.position) == ([], 5)
    details = "SELECT details FROM audit_events WHERE action = 'audit.checkpoints_set_aside'"
    assert attested.rows(details) == [({"objects": 3, "position": 8},)]
    aside = {found.key for found in attested.storage.list("audit/set-aside/", after="")}
    assert kept.key.replace("audit/", "audit/set-aside/") in aside
    assert set_aside(attested.sessions, attested.storage) == 0
    assert attested.verify(kept=(kept,)).found == 1, "who kept one elsewhere still sees the loss"
