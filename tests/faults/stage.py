"""Keeps a world of each kind that the faults need, and makes a new one where one broke."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from shared.local.errors import LocalServiceError
from tests.faults.catalogue import FAULTS
from tests.faults.scene import Fault, Row, play, undisturbed
from tests.faults.specials import SPECIAL_FAULTS, WORLDS
from tests.faults.verdict import Expected
from tests.faults.world import BrokenWorldError, Form, SkippedError, World

MAKERS: dict[str, Callable[[Form], World]] = {"plain": World, **WORLDS}
ALL_FAULTS = [*FAULTS, *SPECIAL_FAULTS]


class Stage:
    """Plays faults one after the other; one world runs at a time. A context manager."""

    def __init__(self, form: Form) -> None:
        self._form = form
        self._kind = ""
        self._world: World | None = None
        self._expected: Expected = {}

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()

    def play(self, fault: Fault) -> Row:
        """Play a fault in a world of its kind."""
        began = time.monotonic()
        row = self._play(fault)
        row.took_seconds = round(time.monotonic() - began, 1)
        return row

    def _play(self, fault: Fault) -> Row:
        try:
            world = self._world_of(fault.kind)
            return play(world, fault, self._expected)
        except SkippedError as reason:
            self._clear()
            return Row(fault.name, skipped=str(reason))
        except (BrokenWorldError, LocalServiceError) as error:
            self._clear()
            return Row(fault.name, complaints=[f"{type(error).__name__}: {error}"])

    def _world_of(self, kind: str) -> World:
        if self._world is not None and self._kind == kind and self._is_usable(self._world):
            return self._world
        self._clear()
        self._world, self._kind = MAKERS[kind](self._form), kind
        self._world.start()
        self._expected = undisturbed(self._world)
        return self._world

    @staticmethod
    def _is_usable(world: World) -> bool:
        try:
            world.heal()
        except BrokenWorldError:
            return False
        return True

    def _clear(self) -> None:
        if self._world is not None:
            with suppress(LocalServiceError):
                self._world.close()
        self._world = None
