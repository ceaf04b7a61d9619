"""Whatever somebody who owns the database does to the audit trail is found."""

from __future__ import annotations

import base64
import datetime as dt

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from shared.audit.anchors import newest_checkpoint
from shared.audit.chain import FIELDS
from shared.audit.checkpoint import Checkpoint
from shared.audit.signing import SigningKey
from shared.audit.verify import FOREVER
from shared.db.models import AuditRow
from tests.integration.audit.trail import REWRITE, TABLES, Trail, empty, problems, rewrite


def test_a_trail_that_nobody_touched_is_whole(attested: Trail) -> None:
    report = attested.verify()
    assert problems(report) == []
    assert (report.events, report.begins, report.position) == (12, 1, 12)
    assert (report.covered, report.unsealed, report.warnings) == (12, 0, [])
    assert report.checkpoints == 7, "three in each place, and the newest state"


def test_every_column_of_an_event_is_hashed() -> None:
    assert set(FIELDS) == set(AuditRow.__table__.columns.keys())


CHANGES = [
    "at = at + interval '1 microsecond'",
    "at = at - interval '4052 years'",
    "at = 'infinity'",
    "actor = 'operatos'",
    "action = 'test.undone'",
    "job_id = NULL",
    "job_id = gen_random_uuid()",
    "details = details || '{\"number\": 99}'",
    "details = details - 'of'",
    "details = jsonb_set(details, '{number}', to_jsonb((details ->> 'number')::text))",
    "details = '{}'",
]


@pytest.mark.parametrize("change", CHANGES)
def test_an_altered_event_is_found(attested: Trail, change: str) -> None:
    attested.tamper(f"UPDATE audit_events SET {change} WHERE id = 6")
    assert problems(attested.verify()) == [("altered", 6, 6)]


@pytest.mark.parametrize("position", [1, 12])
def test_the_oldest_and_the_newest_event_are_no_exception(attested: Trail, position: int) -> None:
    attested.tamper(f"UPDATE audit_events SET actor = 'nobody' WHERE id = {position}")
    assert problems(attested.verify()) == [("altered", position, position)]


def test_an_event_under_another_id_is_found(attested: Trail) -> None:
    attested.tamper("UPDATE audit_events SET id = 99 WHERE id = 6")
    assert ("event_missing", 6, 6) in problems(attested.verify())


@pytest.mark.parametrize("position", [1, 6, 12])
def test_a_removed_event_is_found(attested: Trail, position: int) -> None:
    attested.tamper(f"DELETE FROM audit_events WHERE id = {position}")
    assert problems(attested.verify()) == [("event_missing", position, position)]


def test_a_removed_event_with_its_seal_is_found(attested: Trail) -> None:
    attested.tamper(
        "DELETE FROM audit_events WHERE id = 6", "DELETE FROM audit_seals WHERE position = 6"
    )
    assert problems(attested.verify()) == [("seals_missing", 6, None)]


@pytest.mark.parametrize("first_left", [2, 5])
def test_a_beginning_that_was_cut_off_is_found(attested: Trail, first_left: int) -> None:
    attested.tamper(
        f"DELETE FROM audit_events WHERE id < {first_left}",
        f"DELETE FROM audit_seals WHERE position < {first_left}",
    )
    assert problems(attested.verify())[0] == ("beginning_cut", 1, None)


@pytest.mark.parametrize(("told", "keep", "found"), [
    (4, FOREVER, True), (4, dt.timedelta(days=1), True), (4, None, False), (10**9, None, True),
])  # fmt: skip
def test_a_cut_that_is_passed_off_as_pruning_is_found(
    attested: Trail, told: int, keep: dt.timedelta | None, *, found: bool
) -> None:
    """Whoever may prune can write the event of it; the policy says whether it may have been."""
    attested.tamper(
        "INSERT INTO audit_events (actor, action, details) VALUES "
        f"('service:retention', 'audit.pruned', '{{\"position\": {told}}}')",
        "DELETE FROM audit_events WHERE id <= 4",
        "DELETE FROM audit_seals WHERE position <= 4",
        "DELETE FROM audit_checkpoints WHERE position < 4",
    )
    attested.new_notary()
    attested.checkpoint()
    first = problems(attested.verify(keep=keep))[:1]
    assert first == ([("beginning_cut", 1, None)] if found else [])


def test_a_trail_computed_again_without_any_signature_is_found(attested: Trail) -> None:
    attested.tamper("DELETE FROM audit_checkpoints")
    empty(attested.storage)
    rewrite(attested, REWRITE)
    assert problems(attested.verify()) == [], "its events may be of this minute"
    assert problems(attested.verify(uncovered_seconds=0)) == [("uncovered", 1, None)]
    rewrite(attested, "UPDATE audit_events SET at = '2099-01-01' WHERE id > 6")
    assert problems(attested.verify()) == [("uncovered", 7, None)], "these would never get old"
    assert problems(attested.verify(public=None, uncovered_seconds=0)) == []


def test_two_events_that_changed_places_are_found(attested: Trail) -> None:
    attested.tamper(
        "UPDATE audit_events SET id = -1 WHERE id = 3",
        "UPDATE audit_events SET id = 3 WHERE id = 9",
        "UPDATE audit_events SET id = 9 WHERE id = -1",
    )
    assert problems(attested.verify()) == [("altered", 3, 3), ("altered", 9, 9)]


def test_two_seals_that_changed_places_are_found(attested: Trail) -> None:
    attested.tamper(
        "UPDATE audit_seals SET event_id = -1 WHERE position = 3",
        "UPDATE audit_seals SET event_id = 3 WHERE position = 9",
        "UPDATE audit_seals SET event_id = 9 WHERE position = 3",
    )
    assert problems(attested.verify()) == [("altered", 3, 9), ("altered", 9, 3)]


def test_an_event_put_in_between_with_a_seal_is_found(attested: Trail) -> None:
    attested.tamper(
        "UPDATE audit_seals SET position = position + 100 WHERE position > 6",
        "UPDATE audit_seals SET position = position - 99 WHERE position > 100",
        "INSERT INTO audit_events (id, actor, action) VALUES (99, 'operator', 'test.forged')",
        "INSERT INTO audit_seals VALUES (7, 99, sha256('x'))",
    )
    found = problems(attested.verify())
    assert found[0] == ("altered", 7, 99)
    assert ("checkpoint_differs", 8, 7) in found


def test_an_event_put_in_without_a_seal_is_found(attested: Trail) -> None:
    for at in ("now() - interval '1 day'", "now() + interval '1 day'"):
        attested.tamper(
            "INSERT INTO audit_events (id, at, actor, action)"
            f" VALUES (99, {at}, 'operator', 'test.forged')"
        )
        assert problems(attested.verify()) == [("unsealed", None, 99)]
        attested.tamper("DELETE FROM audit_events WHERE id = 99")


def test_an_event_put_in_under_an_old_id_is_found_even_when_it_was_sealed(attested: Trail) -> None:
    attested.tamper(
        "DELETE FROM audit_events WHERE id = 3",
        "DELETE FROM audit_seals",
        "DELETE FROM audit_checkpoints",
    )
    empty(attested.storage)
    attested.notary = attested.new_notary()
    for _ in range(2):
        attested.checkpoint()
        attested.write(1)
    attested.checkpoint()
    # The clock of a test stands still: its checkpoints are of an hour each.
    attested.tamper(
        "UPDATE audit_checkpoints SET at = at - interval '2 hours' WHERE position = 11",
        "UPDATE audit_checkpoints SET at = at - interval '1 hour' WHERE position = 12",
    )
    assert problems(attested.verify(public=None)) == []
    attested.tamper(
        "INSERT INTO audit_events (id, actor, action) VALUES (3, 'operator', 'test.forged')"
    )
    assert problems(attested.verify(public=None)) == [("unsealed", None, 3)]
    attested.checkpoint()
    assert problems(attested.verify(public=None)) == [("inserted_late", 14, 3)]


@pytest.mark.parametrize("position", [1, 6, 12])
def test_an_altered_seal_is_found(attested: Trail, position: int) -> None:
    attested.tamper(f"UPDATE audit_seals SET hash = sha256('x') WHERE position = {position}")
    assert problems(attested.verify())[0] == ("altered", position, position)


def test_a_position_that_is_there_twice_is_found(attested: Trail) -> None:
    attested.tamper(
        "ALTER TABLE audit_seals DROP CONSTRAINT pk_audit_seals",
        "INSERT INTO audit_seals SELECT 6, 99, hash FROM audit_seals WHERE position = 6",
    )
    try:
        assert "repeated" in [name for name, *_ in problems(attested.verify())]
    finally:
        attested.tamper(
            "DELETE FROM audit_seals",
            "ALTER TABLE audit_seals ADD CONSTRAINT pk_audit_seals PRIMARY KEY (position)",
        )


def test_a_tail_that_was_cut_off_with_its_checkpoints_is_found(attested: Trail) -> None:
    cut = [
        "DELETE FROM audit_events WHERE id > 7",
        "DELETE FROM audit_seals WHERE position > 7",
        "DELETE FROM audit_checkpoints WHERE position > 7",
    ]
    kept = newest_checkpoint(attested.sessions)
    assert kept is not None
    attested.tamper(*cut)
    found = problems(attested.verify())
    assert ("tail_cut", 8, None) in found
    assert not attested.new_notary().attest(), "no new checkpoint hides it"
    assert problems(attested.verify(store=False)) == []
    assert problems(attested.verify(store=False, kept=(kept,))) == [("tail_cut", 8, None)]


def test_the_newest_event_is_missed_too_where_no_checkpoint_reaches_it(attested: Trail) -> None:
    quick = attested.new_notary()
    quick._seconds = 3600
    attested.write(1)
    attested.sealer.seal()
    assert quick.attest()
    assert attested.rows("SELECT max(position) FROM audit_checkpoints") == [(12,)]
    attested.tamper(
        "DELETE FROM audit_events WHERE id = 13", "DELETE FROM audit_seals WHERE position = 13"
    )
    assert problems(attested.verify()) == [("tail_cut", 13, None)]


def test_a_chain_that_was_computed_again_is_found_by_its_signatures(attested: Trail) -> None:
    rewrite(attested, REWRITE)
    found = problems(attested.verify(store=False))
    assert [name for name, *_ in found] == ["checkpoint_forged", "checkpoint_forged"]
    assert [position for _, position, _ in found] == [8, 12]


def test_a_chain_that_was_computed_again_is_found_by_the_object_store(attested: Trail) -> None:
    attested.tamper("DELETE FROM audit_checkpoints")
    rewrite(attested, REWRITE)
    found = problems(attested.verify(public=None))
    assert ("checkpoint_differs", 8, 8) in found
    assert ("checkpoint_differs", 12, 12) in found
    assert ("checkpoint_differs", 4, 4) not in found, "the first four events are as they were"
    assert not attested.new_notary().attest()
    assert not attested.notary.attest(), "nor does the one that runs sign it"


def test_a_chain_signed_by_another_key_is_found(attested: Trail) -> None:
    rewrite(attested, REWRITE)
    _, other = SigningKey.generate()
    for position, digest in attested.rows("SELECT position, hash FROM audit_checkpoints"):
        made = other.sign(Checkpoint(position, bytes(digest), "2026-01-01T00:00:00Z"))
        attested.tamper(
            "UPDATE audit_checkpoints SET key_id = :key, signature = :signature, at = :at"
            " WHERE position = :position",
            key=made.key_id,
            signature=made.signature,
            at=made.at,
            position=position,
        )
    found = problems(attested.verify(store=False))
    assert found == [("checkpoint_unknown_key", position, None) for position in (4, 8, 12)]


def test_checkpoints_without_their_signatures_are_found(attested: Trail) -> None:
    attested.tamper(
        "UPDATE audit_checkpoints SET key_id = NULL, signature = NULL WHERE position > 4"
    )
    found = problems(attested.verify(store=False))
    assert found == [("checkpoint_unsigned", 8, None), ("checkpoint_unsigned", 12, None)]
    attested.tamper("UPDATE audit_checkpoints SET key_id = NULL, signature = NULL")
    assert problems(attested.verify(store=False)) == [("checkpoint_unsigned", 12, None)]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("hash = sha256('x')", "checkpoint_differs"),
        ("at = at - interval '1 day'", "checkpoint_forged"),
        ("signature = decode(repeat('00', 64), 'hex')", "checkpoint_forged"),
        ("key_id = '0123456789abcdef'", "checkpoint_unknown_key"),
        ("position = 7", "checkpoint_differs"),
    ],
)
def test_an_altered_checkpoint_is_found(attested: Trail, change: str, problem: str) -> None:
    attested.tamper(f"UPDATE audit_checkpoints SET {change} WHERE position = 8")
    assert problem in [name for name, *_ in problems(attested.verify())]


@pytest.mark.parametrize("position", [4, 8, 12])
def test_a_removed_checkpoint_is_found_in_either_place(attested: Trail, position: int) -> None:
    (row,) = attested.rows("SELECT * FROM audit_checkpoints WHERE position = :at", at=position)
    attested.tamper(f"DELETE FROM audit_checkpoints WHERE position = {position}")
    assert problems(attested.verify()) == [("checkpoint_missing", position, None)]
    attested.tamper(
        "INSERT INTO audit_checkpoints VALUES (:position, :hash, :at, :key, :signature)",
        **dict(zip(("position", "hash", "at", "key", "signature"), row, strict=True)),
    )
    assert problems(attested.verify()) == []
    for found in list(attested.storage.list("audit/checkpoints/", after="")):
        if f"{position:019d}" in found.key:
            attested.storage.delete(found.key)
    expected = [] if position == 12 else [("checkpoint_missing", position, None)]
    assert problems(attested.verify()) == expected, "the newest one may be on its way"


def test_the_wrong_public_key_finds_that_nothing_is_signed_by_it(attested: Trail) -> None:
    _, other = SigningKey.generate()
    found = {name for name, *_ in problems(attested.verify(public=other.public))}
    assert found == {"checkpoint_unknown_key"}


def test_without_a_key_or_a_store_the_report_says_what_was_not_checked(attested: Trail) -> None:
    report = attested.verify(public=None, store=False)
    assert (report.found, report.covered) == (0, 0)
    assert len(report.warnings) == 2


@pytest.mark.parametrize("table", TABLES)
def test_the_database_itself_refuses_changes(attested: Trail, table: str) -> None:
    column = "actor" if table == "audit_events" else "hash"
    change = f"UPDATE {table} SET {column} = {column}"
    allow = "SET LOCAL hemotriage.audit_prune = 'on'"
    refused = [[change], [f"DELETE FROM {table}"], [f"TRUNCATE {table}"], [allow, change]]
    for statements in refused:
        with pytest.raises(DBAPIError, match="append-only"), attested.sessions.begin() as session:
            for statement in statements:
                session.execute(text(statement))
    assert attested.rows(f"SELECT count(*) > 0 FROM {table}") == [(True,)]


def test_a_key_is_base64_of_32_bytes() -> None:
    text_of, key = SigningKey.generate()
    assert len(base64.b64decode(text_of)) == len(base64.b64decode(key.public)) == 32
    assert SigningKey(text_of).public == key.public
