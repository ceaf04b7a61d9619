"""What is lost, damaged, of another release or in the way is told, and nothing is half restored."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from shared.backup.errors import (
    BackupDamagedError,
    NotEmptyError,
    SchemaMismatchError,
)
from shared.backup.keep import damages
from shared.backup.manifest import Manifest
from shared.backup.place import BackupPlace
from shared.backup.take import head_revision
from shared.db.migrate import upgrade
from shared.settings import Settings
from shared.storage import NamedObject
from tests.command_line import command_line
from tests.filled import contents, everything, fill
from tests.filled_rows import STATUSES, job_id
from tests.integration.backups import Place, a_place, back_up, restore


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
    assert {f"missing {missing}", f"damaged {damaged}"} <= set(done.stderr.splitlines())
    assert "hemotriage: backup_incomplete:" in done.stderr
    assert list(damages(BackupPlace(tmp_path / "place"))) == []


def named_at_0010(connection: Connection) -> Iterator[NamedObject]:
    """The images of jobs, as a release named them that purged none."""
    columns = "object_key, sha256, media_type, bytes"
    for row in connection.execute(text(f"SELECT {columns} FROM job_images")):
        yield NamedObject(*row)


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


@pytest.mark.parametrize("part", ["tables/results.gz", "objects.jsonl.gz"])
def test_bytes_that_cannot_even_be_unpacked_are_a_damaged_file(
    source: Place, target: Place, tmp_path: Path, part: str
) -> None:
    back_up(source, tmp_path)
    path = BackupPlace(tmp_path).folder() / part
    packed = bytearray(path.read_bytes())
    packed[10] = 0xFF  # a kind of block that there is none of
    path.write_bytes(packed)
    assert list(damages(BackupPlace(tmp_path))) == [f"file {path.name}"]
    with pytest.raises(BackupDamagedError, match=path.name):
        restore(target, tmp_path)


def test_damaged_and_missing_objects_and_a_changed_manifest_are_found(
    source: Place, target: Place, tmp_path: Path
) -> None:
    back_up(source, tmp_path)
    place = BackupPlace(tmp_path)
    first, second, *_ = sorted(place.objects())
    first.write_bytes(b"rotten")
    second.unlink()
    textfile = tmp_path / "hemotriage.prom"
    found = command_line("backup", "verify", tmp_path, "--textfile", textfile)
    assert found.returncode == 1
    assert not textfile.exists(), "a damaged backup is none"
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
            patch.setattr("shared.backup.objects._OF_DOMAINS", (named_at_0010,))
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
