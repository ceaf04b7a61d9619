"""Takes the images out of a zip of class folders that anybody may have made.

Names in it are only looked at: files are written under names of our own. What a hostile archive
could cost is bounded before the first byte is unpacked, by what its directory says; an entry that
gives more than its directory says is damaged.
"""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO, cast

from services.trainer.class_folders import SUFFIXES, ClassFolders
from shared.errors import DatasetError
from shared.triage.labels import LABELS, Label

MOST_ENTRIES = 200_000
"""Of files and folders in an archive."""

MOST_RATIO = 200
"""Times that an entry may grow; images hardly do."""

_WITHOUT_RATIO_BYTES = 1024**2  # what is small may be empty background
_DIRECTORY_BYTES = 32 * 1024**2  # read at once; 160 bytes for each of the most entries
_SIGNATURES = (b"PK\x03\x04", b"PK\x05\x06")  # of a zip, and of an empty one
_ENCRYPTED = 0x1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, ValueError)
_KNOWN_SUFFIXES = {*SUFFIXES.values(), ".jpeg", ".tiff"}


class ArchiveError(DatasetError):
    """The archive cannot be used."""

    code = "archive_unusable"


class NotAnArchiveError(ArchiveError):
    """The upload is no zip."""

    code = "archive_not_zip"


class DamagedArchiveError(ArchiveError):
    """The zip is truncated or damaged."""

    code = "archive_damaged"


class EncryptedArchiveError(ArchiveError):
    """The zip is encrypted."""

    code = "archive_encrypted"


class ArchiveTooLargeError(ArchiveError):
    """The zip holds more than the limits allow, or grows more than images do."""

    code = "archive_too_large"


class UnsafeArchiveError(ArchiveError):
    """The zip holds a path that leads out of it, a link, or another zip."""

    code = "archive_unsafe"


class NoClassFolderError(ArchiveError):
    """The zip has no folder of the name of a class, at its top or one folder below."""

    code = "no_class_folder"


@dataclass(frozen=True)
class Extracted:
    """How many files of an archive were copies of others, or in no class folder."""

    duplicates: int
    passed_over: int


@dataclass(frozen=True)
class _Entry:
    """A file in an archive; `number` counts from 1, as its name may be a patient's."""

    number: int
    info: zipfile.ZipInfo
    parts: tuple[str, ...]

    @property
    def is_hidden(self) -> bool:
        """Whether a system put it there, and not its user."""
        return any(part.startswith(".") or part == "__MACOSX" for part in self.parts)


class _Opened(io.BufferedReader):
    """An archive's file: its directory must fit into memory, and lead to places in it."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _DIRECTORY_BYTES:
            raise ArchiveTooLargeError("Its directory is too long.")
        return super().read(size)

    def seek(self, target: int, whence: int = io.SEEK_SET, /) -> int:
        if whence == io.SEEK_SET and target < 0:
            raise zipfile.BadZipFile
        return super().seek(target, whence)


def extract(
    archive: Path, folders: ClassFolders, *, max_bytes: int, max_file_bytes: int
) -> Extracted:
    """Put the images of a zip into class folders.

    Args:
        archive: The zip: class folders, at its top or in one folder.
        folders: Where they go.
        max_bytes: Most that it may unpack to.
        max_file_bytes: Most that one file may unpack to.

    Raises:
        ArchiveError: One of its subclasses says what is wrong; something may be unpacked already.
    """
    _refuse_other_formats(archive)
    with io.FileIO(archive) as raw, _Opened(raw) as file:
        try:
            with zipfile.ZipFile(file) as opened:
                entries = list(_checked(opened, max_bytes, max_file_bytes))
                images = list(_in_classes(entries))
                new = [_unpack(opened, entry, label, folders) for entry, label in images]
        except _DAMAGE as error:
            raise DamagedArchiveError from error
    return Extracted(duplicates=new.count(False), passed_over=len(entries) - len(images))


def _refuse_other_formats(archive: Path) -> None:
    if not zipfile.is_zipfile(archive):
        with archive.open("rb") as file:
            cut = file.read(4).startswith(_SIGNATURES)
        raise DamagedArchiveError if cut else NotAnArchiveError


def _checked(opened: zipfile.ZipFile, max_bytes: int, max_file_bytes: int) -> Iterator[_Entry]:
    """The files of an archive, none of which can do harm."""
    infos = opened.infolist()
    if len(infos) > MOST_ENTRIES:
        raise ArchiveTooLargeError(f"{len(infos)} entries; at most {MOST_ENTRIES}.")
    total = sum(info.file_size for info in infos)
    if total > max_bytes:
        raise ArchiveTooLargeError(f"{total} bytes unpacked; at most {max_bytes}.")
    for number, info in enumerate(infos, start=1):
        entry = _Entry(number, info, _safe_parts(number, info))
        if info.flag_bits & _ENCRYPTED:
            raise EncryptedArchiveError(f"Entry {number}.")
        if info.compress_type not in _METHODS:
            raise ArchiveError(f"Entry {number} is neither stored nor deflated.")
        if info.file_size > max_file_bytes:
            raise ArchiveTooLargeError(
                f"Entry {number}: {info.file_size} bytes; at most {max_file_bytes} a file."
            )
        grown = info.file_size > MOST_RATIO * max(info.compress_size, 1)
        if grown and info.file_size > _WITHOUT_RATIO_BYTES:
            raise ArchiveTooLargeError(f"Entry {number} grows more than {MOST_RATIO} times.")
        if not info.is_dir():
            yield entry


def _safe_parts(number: int, info: zipfile.ZipInfo) -> tuple[str, ...]:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise UnsafeArchiveError(f"Entry {number} is no file.")
    name = info.filename.replace("\\", "/")
    if not name:
        raise ArchiveError(f"Entry {number} has no name.")
    path = PurePosixPath(name)
    if path.is_absolute() or PureWindowsPath(name).drive or ".." in path.parts:
        raise UnsafeArchiveError(f"Entry {number} leads out of the archive.")
    if path.suffix.lower() == ".zip":
        raise UnsafeArchiveError(f"Entry {number} is a zip.")
    return path.parts


def _in_classes(entries: list[_Entry]) -> Iterator[tuple[_Entry, Label]]:
    """The files in class folders, which lie at the top or in the one folder that has any."""
    labels = {str(label): label for label in LABELS}
    shown = [entry for entry in entries if not entry.is_hidden]
    images = [entry for entry in shown if len(entry.parts) in (2, 3) and entry.parts[-2] in labels]
    tops = {entry.parts[:-2] for entry in images}
    if () in tops:
        tops = {()}
    if len(tops) != 1:
        raise NoClassFolderError(
            f"Expected: {', '.join(labels)}." if not tops else "Several folders have some."
        )
    for entry in images:
        if entry.parts[:-2] in tops:
            yield entry, labels[entry.parts[-2]]


def _unpack(opened: zipfile.ZipFile, entry: _Entry, label: Label, folders: ClassFolders) -> bool:
    """Put one image into its class folder; False where it was there."""
    with cast(zipfile.ZipExtFile, opened.open(entry.info)) as source:
        if source.peek(4).startswith(_SIGNATURES):
            raise UnsafeArchiveError(f"Entry {entry.number} is a zip.")
        suffix = PurePosixPath(entry.parts[-1]).suffix.lower()
        known = suffix if suffix in _KNOWN_SUFFIXES else ""
        return folders.add(label, cast(BinaryIO, source), known)
