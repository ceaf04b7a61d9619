"""A folder of backups keeps what it has, whatever becomes of the next one."""

from __future__ import annotations

import datetime as dt
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from shared.backup.errors import (
    BackupFolderBusyError,
    NoBackupError,
)
from shared.backup.keep import damages, keep_newest
from shared.backup.place import BackupPlace
from shared.local.servers import LocalServers
from tests.command_line import command_line
from tests.filled import contents
from tests.filled_rows import STATUSES, job_id, key_id
from tests.integration.backups import Place, add, back_up
from tests.waiting import eventually


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


def test_the_newest_is_the_one_that_was_made_last_though_the_clock_was_set_back(
    tmp_path: Path,
) -> None:
    place = BackupPlace(tmp_path)
    now = dt.datetime.now(dt.UTC)
    for at in (now, now - dt.timedelta(days=1)):
        (place.begin(at) / "manifest.json").write_text("")
    first, second = place.names()
    assert first < second
    assert dt.datetime.strptime(second, "%Y%m%dT%H%M%S%fZ").replace(tzinfo=dt.UTC) > now


def test_a_backup_is_told_though_an_earlier_one_is_damaged(source: Place, tmp_path: Path) -> None:
    back_up(source, tmp_path)
    (BackupPlace(tmp_path).folder() / "objects.jsonl.gz").write_bytes(b"rotten")
    done = command_line("backup", "--keep", "5", tmp_path, **source.environment())
    assert (done.returncode, "hemotriage: backup_damaged:" in done.stderr) == (1, True)
    assert done.stdout.startswith(f"backup {BackupPlace(tmp_path).names()[-1]} ")
    assert list(damages(BackupPlace(tmp_path))) == []


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
    textfile = tmp_path / "hemotriage.prom"
    verified = command_line("backup", "verify", tmp_path, "--textfile", textfile)
    assert verified.stdout == f"whole {name} {told}"
    assert "hemotriage_backup_taken_timestamp_seconds 1." in textfile.read_text()
    done = command_line("restore", tmp_path, "--name", name, **target.environment())
    assert done.returncode == 0, done.stderr
    assert f"jobs rows={len(STATUSES)}\n" in done.stdout
    listed = command_line("jobs", "list", **target.environment()).stdout
    assert listed.startswith(str(job_id(0, "dead")))
    assert key_id(0) in command_line("keys", "list", **target.environment()).stdout
    again = command_line("restore", tmp_path, **target.environment())
    assert (again.returncode, "hemotriage: not_empty:" in again.stderr) == (1, True)
