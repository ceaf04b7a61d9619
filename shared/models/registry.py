"""The shipped model versions: `models/NAME/VERSION/` holds artefacts and a `card.json`.

`models/aliases.json` says which version `champion` is. An artefact is used only if its SHA-256 is
the one that its card states.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from shared.errors import ModelArtefactError, UnknownModelError
from shared.triage.calibration import Calibration
from shared.triage.conformal import Conformal
from shared.triage.provenance import digest

CARD = "card.json"
ALIASES = "aliases.json"
_DECIDING = ("calibration", "conformal", "members")
_COMPARED_WITH = ("reference", "cases")
_REFERENCE = re.compile(r"(?P<name>[a-z0-9_]+)(@(?P<version>[1-9][0-9]{0,8}))?")


@dataclass(frozen=True)
class Member:
    """A model version within an ensemble, with its weight in the mean."""

    version: ModelVersion
    weight: float


@dataclass(frozen=True)
class ModelVersion:
    """One version of one model, as its card describes it."""

    name: str
    version: int
    folder: Path
    described: dict[str, Any] | None = field(default=None, compare=False, repr=False)
    """Its card, where that does not lie in the folder."""

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    @cached_property
    def card(self) -> dict[str, Any]:
        """The model card."""
        if self.described is not None:
            return self.described
        card: dict[str, Any] = json.loads((self.folder / CARD).read_text())
        return card

    @property
    def calibration(self) -> Calibration:
        """What turns its softmax into probabilities, fitted on validation groups."""
        return Calibration.from_card(self.card["calibration"])

    @property
    def conformal(self) -> Conformal | None:
        """Its conformal sets; None for a version that has none."""
        described = self.card.get("conformal")
        return None if described is None else Conformal.from_card(described)

    @property
    def members(self) -> tuple[Member, ...]:
        """The versions that an ensemble joins, which lie in the same registry; () for a model.

        Raises:
            UnknownModelError: A member is not there.
        """
        registry = ModelRegistry(self.folder.parent.parent)
        return tuple(
            Member(registry.resolve(member["model"]), float(member["weight"]))
            for member in self.card.get("members", ())
        )

    @property
    def settings_sha256(self) -> str:
        """The SHA-256 of what the card has decide a result besides the network."""
        deciding = {name: self.card.get(name) for name in _DECIDING}
        compared = {kind: self.card["artefacts"].get(kind) for kind in _COMPARED_WITH}
        return digest({**deciding, **compared})

    def sha256(self, kind: str) -> str:
        """The artefact's SHA-256 by the card."""
        return str(self._artefact(kind)["sha256"])

    def artefact_path(self, kind: str) -> Path:
        """The verified file of an artefact.

        Args:
            kind: `onnx` or `keras`.

        Raises:
            ModelArtefactError: The file is missing or is not the one that the card describes.
        """
        path = self.folder / str(self._artefact(kind)["file"])
        if not path.is_file():
            raise ModelArtefactError(f"{path.name} of {self} is missing.")
        if hashlib.sha256(path.read_bytes()).hexdigest() != self.sha256(kind):
            raise ModelArtefactError(f"{path.name} of {self} has another SHA-256 than its card.")
        return path

    def _artefact(self, kind: str) -> dict[str, Any]:
        try:
            artefact: dict[str, Any] = self.card["artefacts"][kind]
        except KeyError as error:
            raise ModelArtefactError(f"{self} has no {kind} artefact.") from error
        return artefact


class Versions(Protocol):
    """Whatever has model versions."""

    def get(self, name: str, version: int) -> ModelVersion:
        """One version; raises UnknownModelError."""


def parse_reference(text: str) -> tuple[str, int | None]:
    """The name and, where there is one, the number in `NAME` or `NAME@VERSION`.

    Raises:
        UnknownModelError: It is neither.
    """
    match = _REFERENCE.fullmatch(text)
    if match is None:
        raise UnknownModelError(f"{text!r} is no model's name.")
    number = match["version"]
    return match["name"], None if number is None else int(number)


class ModelRegistry:
    """Finds model versions in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def versions(self) -> list[ModelVersion]:
        """All versions, by name and number."""
        found = [
            ModelVersion(card.parent.parent.name, int(card.parent.name), card.parent)
            for card in self._folder.glob(f"*/*/{CARD}")
            if card.parent.name.isdigit()
        ]
        return sorted(found, key=lambda version: (version.name, version.version))

    def aliases(self) -> dict[str, str]:
        """Aliases with the `NAME@VERSION` that each stands for."""
        path = self._folder / ALIASES
        if not path.is_file():
            return {}
        aliases: dict[str, str] = json.loads(path.read_text())
        return aliases

    def get(self, name: str, version: int) -> ModelVersion:
        """One version.

        Raises:
            UnknownModelError: There is no such version.
        """
        for found in self.versions():
            if (found.name, found.version) == (name, version):
                return found
        raise UnknownModelError(f"There is no model {name}@{version}.")

    def resolve(self, reference: str) -> ModelVersion:
        """Turn an alias, `NAME` (its newest version) or `NAME@VERSION` into a version.

        Raises:
            UnknownModelError: It names nothing.
        """
        target = self.aliases().get(reference, reference)
        name, number = parse_reference(target)
        if number is not None:
            return self.get(name, number)
        versions = [version for version in self.versions() if version.name == name]
        if not versions:
            known = sorted({version.name for version in self.versions()} | set(self.aliases()))
            raise UnknownModelError(f"There is no model {reference!r}; there are: {known}.")
        return versions[-1]
