"""A backup holds all of the service at one moment, and a restored one is complete."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from shared.audit.checkpoint import CHECKPOINTS_PREFIX
from shared.backup.errors import (
    RemovalsGoOnError,
)
from shared.backup.keep import damages
from shared.backup.place import BackupPlace
from shared.db.removal import BackupRunsError, removal
from shared.db.session import create_sessions
from shared.retention.objects import give_up, remove_due
from shared.storage import explanation_key, image_key, training_image_key
from tests.filled import contents, everything
from tests.filled_rows import STATUSES, content, job_id, sha256
from tests.integration.backups import Place, add, back_up, named_by_rows, restore


def test_a_restored_backup_has_every_row_and_every_object(
    source: Place, target: Place, tmp_path: Path
) -> None:
    with source.engine.connect() as connection:
        before = everything(connection)
    assert all(before.values()), "every table has rows"
    manifest = back_up(source, tmp_path)
    assert manifest.lost == ()
    assert {name: dump.rows for name, dump in manifest.tables.items()} == {
        name: len(rows) for name, rows in before.items()
    }
    restore(target, tmp_path)
    with target.engine.connect() as connection:
        after = everything(connection)
    restored = [row for row in after["audit_events"] if row["action"] == "backup.restored"]
    assert len(restored) == 1
    after["audit_events"].remove(restored[0])
    # What waited for its place in the audit trail, as no relay runs, and the event above.
    sealed = [row for row in after["audit_seals"] if row not in before["audit_seals"]]
    unplaced = {row["id"] for row in (*before["audit_events"], *restored)}
    assert {row["event_id"] for row in sealed} == unplaced
    after["audit_seals"] = before["audit_seals"]
    assert after == before
    attested = [key for key in target.stored() if key.startswith(CHECKPOINTS_PREFIX)]
    assert len(attested) == len(before["audit_checkpoints"])
    assert named_by_rows(target) == contents(0)


def test_a_restored_database_goes_on_where_it_was(
    source: Place, target: Place, tmp_path: Path
) -> None:
    back_up(source, tmp_path)
    restore(target, tmp_path)
    add(target, 1)
    with target.engine.connect() as connection:
        ids = connection.scalars(text("SELECT id FROM audit_events ORDER BY id")).all()
        assert len(set(ids)) == 2 * len(STATUSES) + 1
        state = text("SELECT tgenabled FROM pg_trigger WHERE tgname = 'tell_job_ended'")
        assert connection.scalars(state).all() == ["O"], "triggers work again"


def test_what_comes_after_the_snapshot_is_in_no_part_of_the_backup(
    source: Place, target: Place, tmp_path: Path
) -> None:
    told: list[str] = []

    def go_on(kind: str) -> None:
        if not told:
            add(source, 1)
        told.append(kind)

    manifest = back_up(source, tmp_path, go_on)
    assert (manifest.tables["jobs"].rows, manifest.objects.count) == (
        len(STATUSES),
        len(contents(0)),
    )
    restore(target, tmp_path)
    assert named_by_rows(target) == contents(0)


def test_nothing_is_removed_between_the_snapshot_and_the_copies(
    source: Place, tmp_path: Path
) -> None:
    refused: list[str] = []

    def purge(kind: str) -> None:
        engine = create_engine(source.engine.url)
        try:
            with removal(create_sessions(engine)):
                for key in contents(0):
                    source.storage.delete(key)
        except BackupRunsError:
            refused.append(kind)
        finally:
            engine.dispose()

    manifest = back_up(source, tmp_path, purge)
    assert {"table", "object"} <= set(refused)
    assert (manifest.lost, manifest.objects.count) == ((), len(contents(0)))
    purge("afterwards")
    assert "afterwards" not in refused
    assert list(damages(BackupPlace(tmp_path))) == []


def test_what_is_purged_or_erased_meanwhile_loses_its_objects_afterwards(
    source: Place, tmp_path: Path
) -> None:
    def purge(kind: str = "") -> None:
        engine = create_engine(source.engine.url)
        sessions = create_sessions(engine)
        with sessions.begin() as session:
            give_up(session, contents(0), again_after=None)
        remove_due(sessions, source.storage)
        engine.dispose()

    manifest = back_up(source, tmp_path, purge)
    assert (manifest.lost, manifest.objects.count) == ((), len(contents(0)))
    purge()
    picture = explanation_key(job_id(0, "succeeded"), 0, "gradcam", sha256(content("picture", 0)))
    in_use = {training_image_key(sha256(content("field", 0))), picture}
    assert source.stored().keys() == in_use


def test_a_backup_waits_for_a_removal_under_way(
    source: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.backup.take._PATIENCE_SECONDS", 0.2)
    with removal(create_sessions(source.engine)), pytest.raises(RemovalsGoOnError):
        back_up(source, tmp_path)
    assert BackupPlace(tmp_path).names() == []


def test_a_second_backup_copies_only_what_is_new(source: Place, tmp_path: Path) -> None:
    back_up(source, tmp_path)
    place = BackupPlace(tmp_path)
    first = {path: path.stat().st_ino for path in place.objects()}
    add(source, 1)
    manifest = back_up(source, tmp_path)
    second = {path: path.stat().st_ino for path in place.objects()}
    assert first.items() <= second.items()
    assert (len(second), manifest.objects.count) == (2 * len(first), 2 * len(contents(0)))


def test_a_purged_image_is_missed_by_no_backup_and_brought_back_by_none(
    source: Place, target: Place, tmp_path: Path
) -> None:
    back_up(source, tmp_path)
    gone = image_key(job_id(0, "succeeded"), 0)
    with source.engine.begin() as connection:
        purge = text("UPDATE job_images SET purged_at = now() WHERE object_key = :key")
        connection.execute(purge, {"key": gone})
    source.storage.delete(gone)
    # The folder still has its bytes, from the backup before.
    manifest = back_up(source, tmp_path)
    assert (manifest.lost, manifest.objects.count) == ((), len(contents(0)) - 1)
    restore(target, tmp_path)
    assert named_by_rows(target).keys() == contents(0).keys() - {gone}
