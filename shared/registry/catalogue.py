"""Every model version that there is: those shipped with the software, and those registered here."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace

from sqlalchemy.exc import SQLAlchemyError

from shared.db.session import Sessions
from shared.errors import UnknownModelError
from shared.models.registry import ModelRegistry, ModelVersion, parse_reference
from shared.outage import is_outage
from shared.registry.aliases import read_aliases
from shared.registry.fetched import FetchedVersions
from shared.registry.states import (
    Alias,
    AliasTarget,
    NoChampionError,
    VersionUnreachableError,
)
from shared.registry.versions import (
    SHIPPED_NUMBERS,
    Registered,
    list_registered,
    read_card,
    version_in,
)
from shared.settings import Settings
from shared.storage import ObjectStore

TRUST_SECONDS = 1.0
"""How long aliases are taken to be what they were a moment ago."""


@dataclass(frozen=True)
class _Known:
    """What the database said, and when."""

    at: float
    aliases: dict[Alias, AliasTarget]
    registered: dict[tuple[str, int], Registered]


class Catalogue:
    """Finds versions by name and number, or by alias; safe to share between threads.

    A version never changes, and its card is kept once it is read. What aliases stand for is read
    anew each second: by nothing else can one process learn that another has promoted a version,
    however the network fares.
    """

    def __init__(
        self, settings: Settings, sessions: Sessions, storage: ObjectStore | None = None
    ) -> None:
        """Prepare; nothing is read yet.

        Args:
            settings: The folder of shipped versions, and the one for what is fetched.
            sessions: The database.
            storage: The object store, for whoever calls `fetch`.
        """
        self._shipped = ModelRegistry(settings.models_dir)
        self._folder = settings.registry_dir
        self._fetched = FetchedVersions(self._folder)
        self._sessions = sessions
        self._storage = storage
        self._versions: dict[tuple[str, int], ModelVersion] = {}
        self._known: _Known | None = None
        self._reading = threading.Lock()

    def refresh(self) -> _Known:
        """Read aliases and the list of versions now."""
        known = _Known(
            time.monotonic(),
            read_aliases(self._sessions),
            {(found.name, found.version): found for found in list_registered(self._sessions)},
        )
        if self._known is None or self._known.at <= known.at:  # or a later reading was faster
            self._known = known
        return known

    def versions(self) -> list[ModelVersion]:
        """All versions, by name and number."""
        keys = {(v.name, v.version) for v in self._shipped.versions()} | {*self.registered()}
        return [self.get(*key) for key in sorted(keys)]

    def registered(self) -> dict[tuple[str, int], Registered]:
        """What is known of the registered versions besides their cards."""
        return self._now().registered

    def aliases(self) -> dict[str, str]:
        """Aliases with the `NAME@VERSION` that each stands for."""
        return {**self._shipped.aliases(), **{str(a): str(t) for a, t in self._set().items()}}

    def champion(self) -> str | None:
        """The champion, `NAME@VERSION`; None: there is none."""
        return self.aliases().get(Alias.CHAMPION)

    def challenger(self) -> AliasTarget | None:
        """The challenger and the canary's share; None: there is none."""
        return self._set().get(Alias.CHALLENGER)

    def get(self, name: str, version: int) -> ModelVersion:
        """One version; its artefacts may be elsewhere, see `fetch`.

        Raises:
            UnknownModelError: There is no such version.
        """
        key = (name, version)
        if key not in self._versions:
            self._versions[key] = self._found(name, version)
        return self._versions[key]

    def resolve(self, reference: str) -> ModelVersion:
        """Turn an alias, `NAME` or `NAME@VERSION` into a version.

        `NAME` is its newest version that is shipped, or has passed a gate.

        Raises:
            NoChampionError: It is `champion`, and there is none.
            UnknownModelError: It names nothing.
        """
        target = self.aliases().get(reference)
        if target is None and reference == Alias.CHAMPION:
            raise NoChampionError
        name, number = parse_reference(target or reference)
        if number is None:
            number = self._newest_released(name)
        return self.get(name, number)

    def resolve_for_job(self, reference: str, chance: float) -> ModelVersion:
        """The same for a new job: of the champion's, the canary's share is the challenger's.

        Args:
            reference: What the client named.
            chance: Drawn for the job, at least 0 and below 1.
        """
        challenger = self.challenger()
        share = 0 if challenger is None else challenger.canary_percent
        if challenger is not None and reference == Alias.CHAMPION and 100 * chance < share:
            return self.get(challenger.name, challenger.version)
        return self.resolve(reference)

    def fetch(self, name: str, version: int) -> ModelVersion:
        """One version with its artefacts in a folder of this machine.

        Raises:
            UnknownModelError: There is no such version.
            ModelArtefactError: An artefact in the object store is not the one of the version.
            ObjectMissingError: An artefact is gone.
            TransientError: Database or object store do not answer, or there is no room for it.
        """
        try:
            found = self.get(name, version)
        except SQLAlchemyError as error:
            if not is_outage(error):
                raise
            raise VersionUnreachableError from error
        if found.described is not None and self._storage is not None:
            self._fetched.fetch(found, self._storage)
        return found

    def _found(self, name: str, version: int) -> ModelVersion:
        if version <= SHIPPED_NUMBERS:
            return self._shipped.get(name, version)
        card = read_card(self._sessions, name, version)
        if card is None:
            raise UnknownModelError(f"There is no model {name}@{version}.")
        return version_in(self._folder, card)

    def _newest_released(self, name: str) -> int:
        found = [v.version for v in self._shipped.versions() if v.name == name]
        found += [n.version for n in self.registered().values() if n.name == name and n.released]
        if not found:
            known = sorted({v.name for v in self._shipped.versions()} | {*self.aliases()})
            raise UnknownModelError(f"There is no model {name!r}; there are: {known}.")
        return max(found)

    def _set(self) -> dict[Alias, AliasTarget]:
        return self._now().aliases

    def _now(self) -> _Known:
        """What the database says, or said last if it is away."""
        if (known := self._fresh()) is not None:
            return known
        with self._reading:
            if (known := self._fresh()) is not None:  # another thread has just read it
                return known
            try:
                return self.refresh()
            except SQLAlchemyError as error:
                if self._known is None or not is_outage(error):
                    raise
                self._known = replace(self._known, at=time.monotonic())
                return self._known

    def _fresh(self) -> _Known | None:
        known = self._known
        is_old = known is None or time.monotonic() - known.at > TRUST_SECONDS
        return None if is_old else known
