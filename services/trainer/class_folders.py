"""Collects labelled images in class folders, each content once a class, named by its SHA-256.

No name that a sender gave gets into it: it may be a patient's, or lead out of the folder.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO

from shared.errors import DatasetError
from shared.triage.labels import LABELS, Label

SUFFIXES = {
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/tiff": ".tif",
    "image/bmp": ".bmp",
    "image/webp": ".webp",
}
"""What the name of a file of each media type ends with."""

_CHUNK = 1024**2


class ClassFolders:
    """A folder with one folder a class, and what was put into it so far."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._draft = root / "draft"
        self._names: dict[tuple[Label, str], Path] = {}
        for label in LABELS:
            (root / label).mkdir(parents=True)

    def __contains__(self, image: tuple[Label, str]) -> bool:
        """Whether an image, by its label and SHA-256, is there."""
        return image in self._names

    def add(self, label: Label, source: BinaryIO, suffix: str) -> bool:
        """Put in what a stream gives.

        Args:
            label: The class.
            source: The content.
            suffix: What its name ends with.

        Returns:
            Whether it is new there.
        """
        digest = hashlib.sha256()
        with self._draft.open("wb") as file:
            while chunk := source.read(_CHUNK):
                digest.update(chunk)
                file.write(chunk)
        return self._place(label, digest.hexdigest(), suffix)

    def add_folder(self, folder: Path) -> set[str]:
        """Put in the images of a data set's class folders, whose files are named by SHA-256.

        They are linked: the folder must be on the same file system.

        Returns:
            The SHA-256 of each.
        """
        found = set()
        for label in LABELS:
            for path in (folder / label).iterdir():
                self._draft.hardlink_to(path)
                self._place(label, path.stem, path.suffix)
                found.add(path.stem)
        return found

    def refuse_empty(self) -> None:
        """Refuse folders of which one is empty.

        Raises:
            DatasetError: It says which.
        """
        missing = set(LABELS) - {label for label, _ in self._names}
        if missing:
            raise DatasetError(f"There is no file of {', '.join(sorted(missing))}.")

    def files(self) -> dict[str, Path]:
        """A file for each SHA-256."""
        return {sha256: path for (_, sha256), path in self._names.items()}

    def _place(self, label: Label, sha256: str, suffix: str) -> bool:
        if (label, sha256) in self:
            self._draft.unlink()
            return False
        self._names[label, sha256] = self._draft.rename(self.root / label / f"{sha256}{suffix}")
        return True
