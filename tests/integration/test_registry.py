"""Versions that training runs make, and how every process finds them."""

from __future__ import annotations

import io
import os
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from services.worker.runtime import Runtime
from shared.db.session import Sessions
from shared.errors import ModelArtefactError, TransientError, UnknownModelError
from shared.registry.aliases import promote, rollback, set_challenger
from shared.registry.catalogue import Catalogue
from shared.registry.fetched import FetchedVersions
from shared.registry.policy import ChangeControlPolicy
from shared.registry.states import (
    AliasNotSetError,
    GateNotPassedError,
    NoChampionError,
    VersionIncompleteError,
    VersionNotKeptError,
)
from shared.registry.versions import check_complete
from shared.settings import Settings
from shared.storage import ObjectMissingError, artefact_key
from shared.storage.s3 import S3Store
from tests.registry import SHIPPED, SIGNED, judged, registered_again

FIELDS = np.zeros((3, 224, 224, 3), np.uint8)
Register = Callable[..., str]


@pytest.fixture
def registered(sessions: Sessions, storage: S3Store) -> Register:
    """Registers a shipped version as if a training run had made it; gives its new reference."""
    return partial(registered_again, sessions, storage)


def empty(settings: Settings, folder: Path) -> Settings:
    folder.mkdir()
    return settings.model_copy(update={"models_dir": folder})


def test_a_version_gets_the_next_number_of_its_name(registered: Register) -> None:
    assert registered("student@1") == "student@1001"
    assert registered("student@1") == "student@1002"
    assert registered("cnn_custom@1") == "cnn_custom@1001"


def test_versions_that_are_registered_at_once_get_numbers_of_their_own(
    registered: Register,
) -> None:
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(registered("student@1"))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [f"student@{number}" for number in (1001, 1002, 1003, 1004)]


@pytest.mark.parametrize(
    "part", ["calibration", "conformal", "likeness", "metrics", "precisions", "cases"]
)
def test_what_must_travel_with_a_version_is_there_or_there_is_no_version(part: str) -> None:
    card = SHIPPED.resolve("student@2").card
    check_complete(card)
    check_complete(SHIPPED.resolve("ensemble@1").card)
    with pytest.raises(VersionIncompleteError, match=part):
        check_complete({name: value for name, value in card.items() if name != part})
    unreferenced = {name: of for name, of in card["artefacts"].items() if name != "reference"}
    with pytest.raises(VersionIncompleteError, match=r"artefacts\.reference"):
        check_complete({**card, "artefacts": unreferenced})


def test_a_registered_version_is_fetched_and_predicts_as_the_files_do(
    own: Settings, catalogue: Catalogue, registered: Register
) -> None:
    reference = registered("student@1")
    runtime = Runtime(own, catalogue)
    name, number = reference.split("@")
    predictor = runtime.predictor(name, int(number))
    assert (predictor.reference.name, predictor.reference.version) == ("student", 1001)
    assert predictor.reference.sha256 == runtime.predictor("student", 1).reference.sha256
    assert predictor.cases is not None
    assert (own.registry_dir / "student" / "1001" / "model.onnx").is_file()
    catalogue.fetch(name, int(number))


def test_an_artefact_that_was_altered_or_lost_in_the_store_is_never_run(
    own: Settings, catalogue: Catalogue, registered: Register, storage: S3Store
) -> None:
    registered("student@1")
    sha256 = SHIPPED.resolve("student@1").sha256("onnx")
    key = artefact_key(sha256)
    content = storage.get(key)
    storage.put(key, io.BytesIO(content[:-1]), len(content) - 1, "application/octet-stream")
    with pytest.raises(ModelArtefactError):
        catalogue.fetch("student", 1001)
    storage.delete(key)
    with pytest.raises(ObjectMissingError):
        catalogue.fetch("student", 1001)
    storage.put(key, io.BytesIO(content), len(content), "application/octet-stream")
    path = catalogue.fetch("student", 1001).artefact_path("onnx")
    path.write_bytes(content[:-1])
    assert catalogue.fetch("student", 1001).artefact_path("onnx").read_bytes() == content
    assert {one.name for one in path.parent.iterdir()} == {
        artefact["file"] for artefact in SHIPPED.resolve("student@1").card["artefacts"].values()
    }


def test_versions_that_were_asked_for_longest_ago_are_let_go(
    own: Settings, catalogue: Catalogue, registered: Register, storage: S3Store
) -> None:
    numbers = [int(registered("student@1").split("@")[1]) for _ in range(4)]
    first, second, third, fourth = (catalogue.get("student", number) for number in numbers)
    fetched = FetchedVersions(own.registry_dir, most=2, loading_seconds=60)
    for version in (first, second, third):
        fetched.fetch(version, storage)
    assert first.artefact_path("onnx").is_file(), "whoever asked for it may be loading it"

    for version, minutes in ((second, 9), (first, 8), (third, 7)):
        a_while_ago = time.time() - 60 * minutes
        os.utime(version.folder, (a_while_ago, a_while_ago))
    fetched.fetch(first, storage)  # asked for again
    fetched.fetch(fourth, storage)
    there = {folder.name for folder in (own.registry_dir / "student").iterdir()}
    assert there == {str(first.version), str(fourth.version)}
    fetched.fetch(second, storage)
    assert second.artefact_path("onnx").is_file()


def test_where_there_is_no_room_a_version_is_asked_for_again_later(
    own: Settings, catalogue: Catalogue, registered: Register
) -> None:
    registered("student@1")
    own.registry_dir.mkdir(parents=True, exist_ok=True)
    (own.registry_dir / "student").write_text("a file where its folder would be")
    with pytest.raises(VersionNotKeptError) as told:
        catalogue.fetch("student", 1001)
    assert isinstance(told.value, TransientError), "no job is given up for it"
    (own.registry_dir / "student").unlink()
    assert catalogue.fetch("student", 1001).artefact_path("onnx").is_file()


def test_a_bare_name_never_means_a_version_that_has_passed_no_gate(
    sessions: Sessions, catalogue: Catalogue, registered: Register
) -> None:
    newest = registered("student@1")
    assert str(catalogue.resolve("student")) == "student@2"
    assert str(catalogue.resolve(newest)) == "student@1001"
    judged(sessions, "student", 1001, "refused")
    catalogue.refresh()
    assert str(catalogue.resolve("student")) == "student@2"
    judged(sessions, "student", 1001, "passed")
    catalogue.refresh()
    assert str(catalogue.resolve("student")) == "student@1001"
    judged(sessions, "student", 1001, "refused")
    catalogue.refresh()
    assert str(catalogue.resolve("student")) == "student@2", "the newest gate counts"
    with pytest.raises(UnknownModelError):
        catalogue.resolve("student@1002")


def test_the_first_champion_of_an_empty_registry_is_promoted(
    own: Settings, sessions: Sessions, registered: Register, policy, tmp_path
) -> None:
    bare = Catalogue(empty(own, tmp_path / "none"), sessions)
    assert (bare.versions(), bare.champion()) == ([], None)
    with pytest.raises(NoChampionError):
        bare.resolve("champion")
    with pytest.raises(UnknownModelError):
        bare.resolve("student")
    Runtime(own, bare).warm_up()
    registered("student@1")
    bare.refresh()
    version = bare.get("student", 1001)
    with pytest.raises(GateNotPassedError, match="no gate"):
        promote(sessions, version, champion=bare.champion(), policy=policy, actor="key:k")
    judged(sessions, "student", 1001, "passed", policy=policy.sha256)
    promote(sessions, version, champion=None, policy=policy, actor="key:k")
    bare.refresh()
    assert str(bare.resolve("champion")) == "student@1001"
    with pytest.raises(AliasNotSetError):
        rollback(sessions, actor="key:k")


def test_a_worker_has_a_new_champion_loaded_within_five_seconds(
    own: Settings, sessions: Sessions, catalogue: Catalogue, policy: ChangeControlPolicy
) -> None:
    runtime = Runtime(own, catalogue)
    runtime.warm_up()
    stopping = threading.Event()
    runtime.follow(stopping)
    named = {"champion": "ensemble@1", "policy": policy, "actor": "key:k"}
    promote(sessions, catalogue.get("cnn_custom", 1), override=SIGNED, **named)
    try:
        loaded = _loaded_within(runtime, ("cnn_custom", 1), seconds=5)
    finally:
        stopping.set()
    assert loaded


def test_a_canary_that_cannot_be_loaded_keeps_no_worker_from_the_champion(
    own: Settings, sessions: Sessions, catalogue: Catalogue, registered: Register, policy
) -> None:
    registered("student@1")
    version = catalogue.get("student", 1001)
    named = {"champion": "ensemble@1", "policy": policy, "actor": "key:k"}
    promote(sessions, catalogue.get("cnn_custom", 1), override=SIGNED, **named)
    set_challenger(sessions, version, canary_percent=1, override=SIGNED, **named)
    catalogue.refresh()
    # The store of these settings has no such bucket.
    elsewhere = S3Store(own.model_copy(update={"s3_bucket": "none"}), pool_size=1)
    runtime = Runtime(own, Catalogue(own, sessions, elsewhere))
    runtime.warm_up()
    assert set(runtime._models._kept) == {("cnn_custom", 1)}


def test_a_worker_keeps_the_models_that_it_used_last(own: Settings, catalogue: Catalogue) -> None:
    runtime = Runtime(own, catalogue, most=2)
    first = runtime.predictor("cnn_custom", 1)
    student = weakref.ref(runtime.predictor("student", 1))
    runtime.predictor("student", 1).predict(FIELDS)
    assert runtime.predictor("cnn_custom", 1) is first
    runtime.predictor("student", 2)
    assert runtime.predictor("cnn_custom", 1) is first
    assert student() is None


def _loaded_within(runtime: Runtime, key: tuple[str, int], *, seconds: float) -> bool:
    waited = threading.Event()
    for _ in range(int(seconds / 0.1)):
        if key in runtime._models._kept:
            return True
        waited.wait(0.1)
    return False
