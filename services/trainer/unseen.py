"""Whether a version has seen in its training what a locked test set shows.

A data set that the service imported was compared with every locked test set, and the other way
round. What a test set found is what counts: a training set leaves out what it finds itself.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from shared.datasets.queries import get_dataset
from shared.datasets.states import DatasetVersion
from shared.db.session import Sessions
from shared.errors import NotFoundError, UnknownModelError
from shared.models.registry import ModelVersion

Find = Callable[[str], ModelVersion]


@dataclass(frozen=True)
class Exposure:
    """What is known of a version's training and one test set, by NAME@VERSION.

    Training goes back: to what it began from, and to the members of an ensemble.
    """

    seen_by: tuple[str, ...] = ()
    """Those of its training that were shown what the test set shows."""
    unknown: tuple[str, ...] = ()
    """Those whose data the service does not know."""


def exposure_of(
    version: ModelVersion, test_set: DatasetVersion, sessions: Sessions, find: Find
) -> Exposure:
    """Look up what a version was trained on.

    Args:
        version: The version.
        test_set: A locked test set that is ready.
        sessions: The database.
        find: Gives the version of a NAME@VERSION, or raises UnknownModelError.
    """
    shown = _showing(test_set, sessions)
    seen_by, unknown = [], []
    for name, data in _training_of(version, find):
        if {data.get("dataset_id"), data.get("version")} & shown:
            seen_by.append(name)
        elif not _is_known(data.get("dataset_id"), sessions):
            unknown.append(name)
    return Exposure(tuple(seen_by), tuple(unknown))


def _showing(test_set: DatasetVersion, sessions: Sessions) -> set[str]:
    """Ids and versions of the data sets that show what the test set shows; it is one of them."""
    shown = {str(test_set.id), str(test_set.version)}
    for leak in test_set.leaks or ():
        # By its version too: what is not known by an id may have the same content.
        version = get_dataset(sessions, uuid.UUID(leak["dataset_id"])).version
        shown |= {str(leak["dataset_id"]), str(version)}
    return shown


def _training_of(version: ModelVersion, find: Find) -> Iterator[tuple[str, dict[str, Any]]]:
    """All versions whose weights went into a version, each with the data that its card names."""
    waiting, met = [str(version)], set()
    cards = {str(version): version.card}
    while waiting:
        name = waiting.pop()
        if name in met:
            continue
        met.add(name)
        try:
            card = cards[name] if name in cards else find(name).card
        except UnknownModelError:
            yield name, {}
            continue
        yield name, card.get("data", {})
        base = card.get("training", {}).get("base")
        waiting += [member["model"] for member in card.get("members", ())]
        waiting += [base] if base is not None else []


def _is_known(dataset_id: str | None, sessions: Sessions) -> bool:
    if dataset_id is None:
        return False
    try:
        get_dataset(sessions, uuid.UUID(dataset_id))
    except NotFoundError:
        return False
    return True
