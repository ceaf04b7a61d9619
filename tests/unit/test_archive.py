"""Zips of class folders that anybody may have made are unpacked safely, or refused by a code."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from services.trainer import archive as archives
from services.trainer.archive import (
    ArchiveError,
    ArchiveTooLargeError,
    DamagedArchiveError,
    EncryptedArchiveError,
    Extracted,
    NoClassFolderError,
    NotAnArchiveError,
    UnsafeArchiveError,
    extract,
)
from services.trainer.class_folders import ClassFolders
from shared.triage.labels import LABELS

CONTENT = b"pixels"
LIMITS = {"max_bytes": 10_000_000, "max_file_bytes": 5_000_000}


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def classes(top: str = "") -> dict[str, bytes]:
    return {f"{top}{label}/{i}.png": f"{label}{i}".encode() for label in LABELS for i in range(2)}


def extracted(data: bytes, folder: Path, **limits: int) -> tuple[Extracted, list[str]]:
    """Unpack, and return the files as LABEL/SUFFIX with their content."""
    path = folder / "upload.zip"
    path.write_bytes(data)
    root = folder / "images"
    found = extract(path, ClassFolders(root), **{**LIMITS, **limits})
    files = (path for path in root.rglob("*") if path.is_file())
    return found, sorted(f"{p.parent.name}{p.suffix} {p.read_bytes().decode()}" for p in files)


@pytest.mark.parametrize("top", ["", "smears/", "smears of Ada Lovelace/"])
def test_class_folders_lie_at_the_top_or_in_one_folder(tmp_path: Path, top: str) -> None:
    found, files = extracted(zipped(classes(top)), tmp_path)
    assert found == Extracted(duplicates=0, passed_over=0)
    assert files == sorted(f"{label}.png {label}{i}" for label in LABELS for i in range(2))


def test_names_go_nowhere_but_for_the_type_that_they_claim(tmp_path: Path) -> None:
    data = zipped({**classes(), "Pro/Ada Lovelace.JPEG": b"a", "Pre/notes.docm": b"b"})
    _, files = extracted(data, tmp_path)
    assert {"Pro.jpeg a", "Pre b"} <= set(files)
    assert not any("Ada" in path.name for path in tmp_path.rglob("*"))


def test_what_lies_elsewhere_is_passed_over_and_counted(tmp_path: Path) -> None:
    more = {
        "README.txt": b"x",
        "Pro/deeper/0.png": b"x",
        "other/0.png": b"x",
        "Pro/.DS_Store": b"x",
        "__MACOSX/Pro/._0.png": b"x",
    }
    found, files = extracted(zipped({**classes(), **more}), tmp_path)
    assert found.passed_over == len(more)
    assert len(files) == len(classes())


def test_a_system_folder_is_no_second_top_folder(tmp_path: Path) -> None:
    more = {"__MACOSX/Pro/0.png": b"x"}
    found, files = extracted(zipped({**classes("smears/"), **more}), tmp_path)
    assert (found.passed_over, len(files)) == (1, len(classes()))


def test_copies_in_a_class_are_taken_once(tmp_path: Path) -> None:
    data = zipped({"Pro/0.png": CONTENT, "Pro/1.png": CONTENT, "Pre/0.png": CONTENT})
    found, files = extracted(data, tmp_path)
    assert found.duplicates == 1
    assert files == ["Pre.png pixels", "Pro.png pixels"]


def linked(name: str, kind: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = (kind | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    return buffer.getvalue()


def encrypted() -> bytes:
    data = bytearray(zipped({"Pro/0.png": CONTENT}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    return bytes(data)


def flipped() -> bytes:
    data = zipped({"Pro/0.png": CONTENT})
    return data.replace(CONTENT, CONTENT.upper())


def lying_about_its_size() -> bytes:
    """A directory that says 10 bytes of what unpacks to a million."""
    data = bytearray(zipped({"Pro/0.png": bytes(1_000_000)}, zipfile.ZIP_DEFLATED))
    struct.pack_into("<L", data, data.index(b"PK\x01\x02") + 24, 10)
    return bytes(data)


def far_away() -> bytes:
    """A directory that names a place before the file's beginning."""
    data = bytearray(zipped({"Pro/0.png": CONTENT}))
    struct.pack_into("<L", data, data.index(b"PK\x05\x06") + 16, 0xFFFFFF)
    return bytes(data)


def nameless() -> bytes:
    """An entry whose name ends before it begins."""
    return zipped({"Pro/0.png": CONTENT}).replace(b"Pro/0.png", b"\0ro/0.png")


BAD: dict[str, tuple[bytes, type[ArchiveError], str]] = {
    "no zip": (b"\x1f\x8b gzip" * 100, NotAnArchiveError, "archive_not_zip"),
    "nothing": (b"", NotAnArchiveError, "archive_not_zip"),
    "truncated": (zipped(classes())[:-30], DamagedArchiveError, "archive_damaged"),
    "its beginning": (zipped(classes())[:40], DamagedArchiveError, "archive_damaged"),
    "a flipped bit": (flipped(), DamagedArchiveError, "archive_damaged"),
    "a lie": (lying_about_its_size(), DamagedArchiveError, "archive_damaged"),
    "a wrong place": (far_away(), DamagedArchiveError, "archive_damaged"),
    "encrypted": (encrypted(), EncryptedArchiveError, "archive_encrypted"),
    "path above": (zipped({"../Pro/0.png": b"x"}), UnsafeArchiveError, "archive_unsafe"),
    "path inside": (zipped({"Pro/../../x": b"x"}), UnsafeArchiveError, "archive_unsafe"),
    "absolute": (zipped({"/Pro/0.png": b"x"}), UnsafeArchiveError, "archive_unsafe"),
    "drive": (zipped({"C:/Pro/0.png": b"x"}), UnsafeArchiveError, "archive_unsafe"),
    "backslashes": (zipped({"Pro\\..\\..\\x": b"x"}), UnsafeArchiveError, "archive_unsafe"),
    "no name": (nameless(), ArchiveError, "archive_unusable"),
    "link": (linked("Pro/0.png", stat.S_IFLNK), UnsafeArchiveError, "archive_unsafe"),
    "device": (linked("Pro/0.png", stat.S_IFCHR), UnsafeArchiveError, "archive_unsafe"),
    "a zip by name": (zipped({"Pro/0.zip": b"x"}), UnsafeArchiveError, "archive_unsafe"),
    "a zip in it": (
        zipped({"Pro/0.png": zipped(classes())}),
        UnsafeArchiveError,
        "archive_unsafe",
    ),
    "an empty zip in it": (zipped({"Pro/0.png": zipped({})}), UnsafeArchiveError, "archive_unsafe"),
    "no class": (zipped({"0.png": b"x"}), NoClassFolderError, "no_class_folder"),
    "empty": (zipped({}), NoClassFolderError, "no_class_folder"),
    "two levels down": (zipped(classes("a/b/")), NoClassFolderError, "no_class_folder"),
    "two top folders": (
        zipped({**classes("a/"), **classes("b/")}),
        NoClassFolderError,
        "no_class_folder",
    ),
    "bomb": (
        zipped({"Pro/0.png": bytes(4_000_000)}, zipfile.ZIP_DEFLATED),
        ArchiveTooLargeError,
        "archive_too_large",
    ),
    "a large file": (
        zipped({"Pro/0.png": bytes(5_000_001)}),
        ArchiveTooLargeError,
        "archive_too_large",
    ),
    "much": (
        zipped({f"Pro/{i}.png": bytes(4_000_000) for i in range(3)}),
        ArchiveTooLargeError,
        "archive_too_large",
    ),
    "another method": (
        zipped({"Pro/0.png": CONTENT}, zipfile.ZIP_BZIP2),
        ArchiveError,
        "archive_unusable",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_used_is_refused_and_leaves_nothing_outside(
    tmp_path: Path, what: str
) -> None:
    data, error, code = BAD[what]
    inside = tmp_path / "work"
    inside.mkdir()
    with pytest.raises(error) as raised:
        extracted(data, inside)
    assert (type(raised.value), raised.value.code) == (error, code)
    assert [path.name for path in tmp_path.iterdir()] == ["work"]
    assert {path.name for path in inside.iterdir()} == {"upload.zip", "images"}


def test_too_many_entries_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_ENTRIES", 3)
    with pytest.raises(ArchiveTooLargeError, match="8 entries"):
        extracted(zipped(classes()), tmp_path)


def test_a_directory_that_fits_no_memory_is_never_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "_DIRECTORY_BYTES", 100)
    with pytest.raises(ArchiveTooLargeError, match="directory"):
        extracted(zipped(classes()), tmp_path)


def test_no_error_tells_a_name(tmp_path: Path) -> None:
    with pytest.raises(UnsafeArchiveError) as raised:
        extracted(zipped({**classes(), "../Ada Lovelace.png": b"x"}), tmp_path)
    assert "Ada" not in str(raised.value)
    assert "Entry 9" in str(raised.value)
