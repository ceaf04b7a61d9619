"""A backup holds all of the service at one moment, and a restored one is complete."""

from __future__ import annotations

import gzip
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from shared.audit.checkpoint import CHECKPOINTS_PREFIX
from shared.backup.database import tables_of
from shared.backup.errors import (
    BackupDamagedError,
    BackupFolderBusyError,
    NoBackupError,
    NotEmptyError,
    RemovalsGoOnError,
    SchemaMismatchError,
)
from shared.backup.keep import damages, keep_newest
from shared.backup.manifest import Manifest
from shared.backup.place import BackupPlace
from shared.backup.take import head_revision
from shared.db.migrate import upgrade
from shared.db.removal import BackupRunsError, removal
from shared.db.session import create_sessions
from shared.local.servers import LocalServers
from shared.settings import Settings
from tests.command_line import command_line
from tests.filled import contents, everything, fill
from tests.filled_rows import STATUSES, job_id, key_id
from tests.integration.backups import Place, a_place, back_up, restore
from tests.waiting import eventually


@pytest.fixture(scope="module")
def migrated(settings: Settings) -> Iterator[Place]:
    """A place at the newest revision."""
    with a_place(settings, "backup_source") as place:
        upgrade(place.engine)
        yield place


@pytest.fixture
def source(migrated: Place) -> Place:
    """A place with rows in every table, and the objects that they name."""
    with migrated.engine.begin() as connection:
        names = ", ".join(tables_of(connection).tables)
        # The audit trail is append-only for whoever does not say so.
        connection.execute(text("SET LOCAL hemotriage.audit_prune = 'on'"))
        connection.execute(text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))
        fill(connection, 0)
    migrated.remove_objects()
    migrated.put_objects(0)
    return migrated


@pytest.fixture
def target(settings: Settings) -> Iterator[Place]:
    """An empty place."""
    with a_place(settings, "backup_target") as place:
        yield place


def add(source: Place, mark: int) -> None:
    """Rows and objects as an intake makes them: objects first."""
    source.put_objects(mark)
    engine = create_engine(source.engine.url)
    with engine.begin() as connection:
        fill(connection, mark)
    engine.dispose()


def named_by_rows(target: Place) -> dict[str, bytes]:
    """All objects but those of checkpoints, which are made again."""
    stored = target.stored()
    return {key: data for key, data in stored.items() if not key.startswith(CHECKPOINTS_PREFIX)}


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


@pytest.mark.exhaustive
@pytest.mark.slow
def test_an_object_that_the_store_has_lost_is_told_and_the_rest_is_kept(
    source: Place, tmp_path: Path
) -> None:
    missing, damaged, *_ = contents(0)
    source.storage.delete(missing)
    with (tmp_path / "other").open("w+b") as other:
        source.storage.put(damaged, other, 0, "image/png")
    done = command_line("backup", tmp_path / "place", **source.environment())
    assert done.returncode == 1
    assert f"missing {missing}\ndamaged {damaged}\n" in done.stderr
    assert "hemotriage: backup_incomplete:" in done.stderr
    assert list(damages(BackupPlace(tmp_path / "place"))) == []


@pytest.mark.parametrize("part", ["tables/results.gz", "objects.jsonl.gz"])
def test_a_damaged_file_is_found_and_nothing_is_restored(
    source: Place, target: Place, tmp_path: Path, part: str
) -> None:
    back_up(source, tmp_path)
    path = BackupPlace(tmp_path).folder() / part
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content[:-1]))
    assert list(damages(BackupPlace(tmp_path))) == [f"file {path.name}"]
    with pytest.raises(BackupDamagedError):
        restore(target, tmp_path)
    with target.engine.connect() as connection:
        assert everything(connection) == {}


def test_damaged_and_missing_objects_and_a_changed_manifest_are_found(
    source: Place, target: Place, tmp_path: Path
) -> None:
    back_up(source, tmp_path)
    place = BackupPlace(tmp_path)
    first, second, *_ = sorted(place.objects())
    first.write_bytes(b"rotten")
    second.unlink()
    found = command_line("backup", "verify", tmp_path)
    assert found.returncode == 1
    assert {line.split()[1] for line in found.stderr.splitlines()[:2]} == {first.name, second.name}
    with pytest.raises(BackupDamagedError):
        restore(target, tmp_path)
    manifest = place.folder() / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"rows": 6', '"rows": 5'))
    with pytest.raises(BackupDamagedError, match="changed"):
        list(damages(place))


def test_a_place_that_is_not_empty_is_left_as_it_is(
    source: Place, target: Place, tmp_path: Path
) -> None:
    back_up(source, tmp_path)
    with pytest.raises(NotEmptyError, match="bucket"):
        restore(source, tmp_path)
    source.remove_objects()
    with pytest.raises(NotEmptyError, match="has rows"):
        restore(source, tmp_path)
    with target.engine.begin() as connection:
        connection.execute(text("CREATE TABLE of_somebody_else (id int)"))
    with pytest.raises(NotEmptyError, match="of_somebody_else"):
        restore(target, tmp_path)
    assert source.stored() == target.stored() == {}


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_place_that_was_only_migrated_counts_as_empty(
    source: Place, target: Place, tmp_path: Path
) -> None:
    back_up(source, tmp_path)
    upgrade(target.engine)
    assert restore(target, tmp_path).tables["jobs"].rows == len(STATUSES)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_backup_of_an_older_release_is_brought_to_this_one(
    settings: Settings, target: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with a_place(settings, "backup_older") as older:
        upgrade(older.engine, "0010")
        with older.engine.begin() as connection:
            fill(connection, 0)
        older.put_objects(0)
        with pytest.raises(SchemaMismatchError, match="0010"):
            back_up(older, tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr("shared.backup.take.head_revision", lambda: "0010")
            back_up(older, tmp_path)
    restore(target, tmp_path)
    with target.engine.connect() as connection:
        states = connection.execute(text("SELECT job_id, case_state FROM results")).all()
        assert states == [(job_id(0, "succeeded"), "closed")]
        revision = connection.scalar(text("SELECT version_num FROM alembic_version"))
    assert revision == head_revision()


def test_a_backup_of_a_newer_release_is_refused(
    source: Place, target: Place, tmp_path: Path
) -> None:
    manifest = back_up(source, tmp_path)
    folder = BackupPlace(tmp_path).folder()
    Manifest.model_validate({**manifest.model_dump(), "revision": "9999"}).write(folder)
    with pytest.raises(SchemaMismatchError, match="9999"):
        restore(target, tmp_path)


def test_only_the_newest_are_kept_and_what_they_share_stays(source: Place, tmp_path: Path) -> None:
    place = BackupPlace(tmp_path)
    back_up(source, tmp_path)
    with source.engine.begin() as connection:
        connection.execute(text("DELETE FROM explanations"))
    back_up(source, tmp_path)
    back_up(source, tmp_path)
    oldest, *newer = place.names()
    assert keep_newest(place, 2) == [oldest]
    assert place.names() == newer
    assert len(list(place.objects())) == len(contents(0)) - 1
    assert keep_newest(place, 5) == []
    assert all(list(damages(place, name)) == [] for name in newer)
    with pytest.raises(NoBackupError, match=newer[0]):
        place.folder(oldest)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_killed_backup_leaves_the_earlier_ones_whole(
    servers: LocalServers, source: Place, tmp_path: Path
) -> None:
    back_up(source, tmp_path)
    place = BackupPlace(tmp_path)
    (first,) = place.names()
    add(source, 1)
    servers.seaweedfs.pause()
    try:
        backup = subprocess.Popen(
            [sys.executable, "-m", "services.cli", "backup", str(tmp_path)],
            env={**os.environ, **source.environment()},
        )
        eventually(lambda: list(tmp_path.glob("objects/*/*.part")))
        with pytest.raises(BackupFolderBusyError), place.alone():
            pass
        backup.send_signal(signal.SIGKILL)
        assert backup.wait() == -signal.SIGKILL
    finally:
        servers.seaweedfs.resume()
    assert place.names() == [first]
    assert list(damages(place)) == []
    back_up(source, tmp_path)
    assert len(place.names()) == len(list((tmp_path / "backups").iterdir())) == 2
    assert list(tmp_path.rglob("*.part")) == []


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_disk_that_takes_no_more_ends_a_backup_and_leaves_nothing_of_it(
    source: Place, tmp_path: Path
) -> None:
    back_up(source, tmp_path)
    first = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    add(source, 1)
    done = subprocess.run(
        [sys.executable, "-m", "services.cli", "backup", str(tmp_path)],
        env={**os.environ, **source.environment()},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "hemotriage: io_error:" in done.stderr) == (1, True), done.stderr
    second = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert {path: at for path, at in second.items() if path.name != "lock"} == {
        path: at for path, at in first.items() if path.name != "lock"
    }


def test_what_names_patients_is_for_its_owner_alone(source: Place, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "place"
    back_up(source, folder)
    modes = {path.stat().st_mode & 0o777 for path in (folder, *folder.rglob("*"))}
    assert modes == {0o700, 0o600}


@pytest.mark.exhaustive
@pytest.mark.slow
def test_the_command_line_makes_lists_verifies_and_restores(
    source: Place, target: Place, tmp_path: Path
) -> None:
    made = command_line("backup", "--keep", "1", tmp_path, **source.environment())
    assert made.returncode == 0, made.stderr
    (name,) = BackupPlace(tmp_path).names()
    told = made.stdout.removeprefix(f"backup {name} ")
    assert f"objects={len(contents(0))} " in told
    assert command_line("backup", "list", tmp_path).stdout == f"{name} {told}"
    assert command_line("backup", "verify", tmp_path).stdout == f"whole {name} {told}"
    done = command_line("restore", tmp_path, "--name", name, **target.environment())
    assert done.returncode == 0, done.stderr
    assert f"jobs rows={len(STATUSES)}\n" in done.stdout
    listed = command_line("jobs", "list", **target.environment()).stdout
    assert listed.startswith(str(job_id(0, "dead")))
    assert key_id(0) in command_line("keys", "list", **target.environment()).stdout
    again = command_line("restore", tmp_path, **target.environment())
    assert (again.returncode, "hemotriage: not_empty:" in again.stderr) == (1, True)
