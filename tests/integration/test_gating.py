"""Versions that are judged by the trainer, by what is in database and object store."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import uuid
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from services.trainer.gating import run_gates
from services.trainer.unseen import exposure_of
from shared.datasets.queries import get_dataset
from shared.db.session import Sessions
from shared.errors import UnknownModelError
from shared.models.registry import ModelVersion
from shared.registry.catalogue import Catalogue
from shared.registry.gates import get_gate
from shared.registry.policy import read_policy
from shared.registry.states import (
    Gate,
    GateStatus,
)
from shared.settings import Settings
from shared.storage.s3 import S3Store
from tests.factories import class_folders
from tests.integration.gates import STUDENT, asked, set_all, taken, told
from tests.registry import SHIPPED, registered_again
from tests.threads import in_a_thread
from tests.trainings import a_ready_dataset, a_stored_dataset
from tests.waiting import eventually


def exposure(sessions: Sessions, card: dict[str, Any], test_set: uuid.UUID, **others: Any) -> Any:
    """Of a version with that card; `others` are cards by the names of their versions."""

    def find(reference: str) -> ModelVersion:
        name = reference.split("@", maxsplit=1)[0]
        if name not in others:
            raise UnknownModelError(reference)
        return ModelVersion(name, 1, Path("nowhere"), described=others[name])

    version = ModelVersion("m", 1, Path("nowhere"), described=card)
    return exposure_of(version, get_dataset(sessions, test_set), sessions, find)


def test_what_was_trained_on_data_that_the_test_set_shows_has_seen_it(sessions: Sessions) -> None:
    shown = a_ready_dataset(sessions, {"version": "a" * 64, "images": []})
    clean = a_ready_dataset(sessions, {"version": "b" * 64, "images": []})
    leaks = [{"dataset_id": str(shown), "name": None, "images": 3}]
    test_set = a_ready_dataset(
        sessions, {"version": "t" * 64, "images": []}, locked=True, leaks=leaks
    )
    seen = exposure(sessions, {"data": {"dataset_id": str(shown)}}, test_set)
    assert (seen.seen_by, seen.unknown) == (("m@1",), ())
    unseen = exposure(sessions, {"data": {"dataset_id": str(clean)}}, test_set)
    assert (unseen.seen_by, unseen.unknown) == ((), ())
    for version in ("a" * 64, "t" * 64):  # of the same content, though nobody imported it
        seen = exposure(sessions, {"data": {"version": version}}, test_set)
        assert seen.seen_by == ("m@1",)
    for data in ({}, {"version": "z" * 64}, {"dataset_id": str(uuid.uuid4())}):
        assert exposure(sessions, {"data": data}, test_set).unknown == ("m@1",)


def test_what_training_began_from_and_what_an_ensemble_joins_count_too(
    sessions: Sessions,
) -> None:
    shown, clean = a_ready_dataset(sessions), a_ready_dataset(sessions, {"version": "b" * 64})
    leaks = [{"dataset_id": str(shown), "name": None, "images": 1}]
    test_set = a_ready_dataset(sessions, {"version": "t" * 64}, locked=True, leaks=leaks)
    own = {"data": {"dataset_id": str(clean)}}
    tainted = {"data": {"dataset_id": str(shown)}}
    between = {**own, "training": {"base": "tainted@1"}}
    based = {**own, "training": {"base": "between@1"}}
    found = exposure(sessions, based, test_set, between=between, tainted=tainted)
    assert found.seen_by == ("tainted@1",)
    joined = {"data": {}, "members": [{"model": "between@1"}, {"model": "gone@1"}]}
    found = exposure(sessions, joined, test_set, between=between, tainted=tainted)
    assert found.seen_by == ("tainted@1",)
    assert set(found.unknown) == {"m@1", "gone@1"}
    endless = {**own, "training": {"base": "m@1"}}
    assert exposure(sessions, endless, test_set, m=endless).seen_by == ()


SHIPPED_POLICY = Settings.model_fields["change_control_policy"].default
LENIENT = {
    "least_images": 8,
    "least_per_class": 2,
    "least_groups": 8,
    "floor": 0.0,
    "ceiling": 1.0,
    "images": 4,
    "alternations": 1,
    "least_ratio": 0.0,
}
"""Drawn fields are nothing that a model was trained on; only what it loses to another counts."""


@pytest.fixture
def lenient(settings: Settings, tmp_path: Path) -> Settings:
    """Settings of a trainer whose policy suits a few drawn fields."""
    path = tmp_path / "lenient.toml"
    lines = SHIPPED_POLICY.read_text().splitlines()
    for name, value in LENIENT.items():
        lines = [f"{name} = {value}" if ln.startswith(f"{name} =") else ln for ln in lines]
    path.write_text("\n".join(lines))
    folders = {"trainer_work": tmp_path / "work", "registry_dir": tmp_path / "registry"}
    return settings.model_copy(update={"change_control_policy": path, **folders})


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return class_folders(tmp_path_factory.mktemp("drawn") / "images", 2)


@pytest.fixture
def test_set(sessions: Sessions, storage: S3Store, images: Path) -> uuid.UUID:
    """A locked test set of eight drawn fields."""
    dataset_id = a_stored_dataset(sessions, storage, images)
    with sessions.begin() as session:
        session.execute(text("UPDATE datasets SET locked = true"))
    return dataset_id


def gating(
    settings: Settings, sessions: Sessions, storage: S3Store
) -> AbstractContextManager[threading.Event]:
    """What a trainer judges with, for as long as the block runs; yields what stops it."""
    return in_a_thread(run_gates, settings, sessions, storage)


def ended(sessions: Sessions, gate: Gate) -> Gate:
    eventually(lambda: get_gate(sessions, gate.id).status.is_final)
    return get_gate(sessions, gate.id)


def test_a_version_is_judged_against_the_champion_that_its_gate_names(
    lenient: Settings, sessions: Sessions, storage: S3Store, test_set: uuid.UUID
) -> None:
    name, number = registered_again(sessions, storage, "student@2").split("@")
    version = Catalogue(lenient, sessions).get(name, int(number))
    same = asked(sessions, version=version, champion="student@2", dataset_id=test_set)
    first = asked(sessions, version=version, champion=None, dataset_id=test_set)
    other = asked(sessions, version=SHIPPED.resolve("cnn_custom@1"), champion="student@1001")
    with gating(lenient, sessions, storage):
        passed, alone, refused = (ended(sessions, gate) for gate in (same, first, other))
    assert passed.status is GateStatus.PASSED, passed.report or passed.error_detail
    report = passed.report
    assert report
    assert (report["candidate"], report["champion"]) == ("student@1001", "student@2")
    assert passed.policy_sha256 == read_policy(lenient.change_control_policy).sha256
    assert report["test_set"]["dataset_id"] == str(test_set)
    assert report["test_set"]["counts"] == {"Benign": 2, "Early": 2, "Pre": 2, "Pro": 2}
    figures = report["figures"]
    assert figures["candidate"]["confusion_matrix"] == figures["champion"]["confusion_matrix"]
    assert figures["candidate"]["precision"] == figures["champion"]["precision"]
    assert (alone.status, alone.report and alone.report["champion"]) == ("passed", None)
    assert (refused.status, refused.report and refused.report["champion"]) == (
        "refused",
        "student@1001",
    )
    assert any("no verdict on whether its graph" in said for said in refused.report["reasons"])
    assert told(sessions)[-1][2]["reasons"] == refused.report["reasons"]
    assert (Path(lenient.registry_dir) / "student" / "1001" / "model.onnx").is_file()


def test_what_has_seen_the_test_set_is_refused(
    lenient: Settings, sessions: Sessions, storage: S3Store, test_set: uuid.UUID
) -> None:
    """What the card of the shipped versions names is found by its content."""
    shown = a_ready_dataset(sessions, {"version": STUDENT.card["data"]["version"], "images": []})
    leak = f'[{{"dataset_id": "{shown}", "name": null, "images": 1}}]'
    with sessions.begin() as session:
        session.execute(
            text("UPDATE datasets SET leaks = CAST(:leak AS json) WHERE id = :id"),
            {"leak": leak, "id": test_set},
        )
    gate = asked(sessions, champion=None, dataset_id=test_set)
    with gating(lenient, sessions, storage):
        found = ended(sessions, gate)
    assert found.status is GateStatus.REFUSED
    assert found.report
    assert found.report["reasons"] == [
        "student@2 was trained on images that show what the test set shows."
    ]


def test_what_cannot_be_judged_fails_at_once_and_says_why(
    lenient: Settings, sessions: Sessions, storage: S3Store, test_set: uuid.UUID
) -> None:
    gone = ModelVersion("student", 99, Path("nowhere"))
    gate = asked(sessions, version=gone, dataset_id=test_set)
    with gating(lenient, sessions, storage):
        found = ended(sessions, gate)
    assert (found.status, found.error_code, found.attempts) == ("failed", "unknown_model", 1)
    lenient.change_control_policy.write_text("version = 1")
    gate = asked(sessions, dataset_id=test_set)
    with gating(lenient, sessions, storage):
        found = ended(sessions, gate)
    assert (found.status, found.error_code) == ("failed", "change_control_policy_invalid")


def test_a_test_set_that_was_altered_judges_nobody(
    lenient: Settings, sessions: Sessions, storage: S3Store, test_set: uuid.UUID
) -> None:
    first = asked(sessions, champion=None, dataset_id=test_set)
    with gating(lenient, sessions, storage):
        ended(sessions, first)
    image = next((lenient.trainer_work / "datasets").glob("*/Pro/*.png"))
    image.unlink()
    second = asked(sessions, champion=None, dataset_id=test_set)
    with gating(lenient, sessions, storage):
        found = ended(sessions, second)
    assert (found.status, found.error_code) == ("failed", "dataset_damaged")


class SlowStore(S3Store):
    """The object store, which gives no image before it is let."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, pool_size=2)
        self.asked, self.let = threading.Event(), threading.Event()

    def get(self, key: str, *, most_bytes: int | None = None) -> bytes:
        self.asked.set()
        assert self.let.wait(60)
        return super().get(key, most_bytes=most_bytes)


def test_a_trainer_that_stops_hands_its_gate_back(
    lenient: Settings, sessions: Sessions, test_set: uuid.UUID
) -> None:
    gate, slow = asked(sessions, dataset_id=test_set), SlowStore(lenient)
    with gating(lenient, sessions, slow):
        assert slow.asked.wait(60)
    found = get_gate(sessions, gate.id)
    assert (found.status, found.attempts) == (GateStatus.QUEUED, 1)
    held = taken(sessions)
    assert held
    assert (held.id, held.attempt, held.failures) == (gate.id, 2, 0)
    slow.let.set()
    eventually(lambda: not working(gate))
    assert get_gate(sessions, gate.id).status is GateStatus.RUNNING


def test_a_report_of_a_claim_that_was_lost_is_not_written(
    lenient: Settings, sessions: Sessions, test_set: uuid.UUID
) -> None:
    gate, slow = asked(sessions, dataset_id=test_set), SlowStore(lenient)
    with gating(lenient, sessions, slow):
        assert slow.asked.wait(60)
        set_all(sessions, "worker = 'other', attempts = 2")
        slow.let.set()
        eventually(lambda: not working(gate))
    found = get_gate(sessions, gate.id)
    assert (found.status, found.attempts, found.report) == (GateStatus.RUNNING, 2, None)
    assert [action for _, action, _ in told(sessions)] == ["gate.requested"]


def working(gate: Gate) -> bool:
    """Whether a thread of this process works on a gate."""
    return any(thread.name == f"gate-{gate.id}" for thread in threading.enumerate())


_TRAINER = """
import threading
from shared.db.session import create_database, create_sessions
from shared.settings import Settings
from shared.storage.s3 import S3Store
from services.trainer.gating import run_gates

settings = Settings()
sessions = create_sessions(create_database(settings, pool_size=4))
run_gates(settings, sessions, S3Store(settings, pool_size=2), threading.Event(), look_seconds=0.1)
"""


def test_a_gate_whose_trainer_is_killed_is_judged_anew_by_the_next(
    servers, lenient: Settings, sessions: Sessions, storage: S3Store, test_set: uuid.UUID
) -> None:
    gate = asked(sessions, champion=None, dataset_id=test_set)
    environment = {
        **servers.environment(),
        "HEMOTRIAGE_TRAINER_WORK": str(lenient.trainer_work),
        "HEMOTRIAGE_CHANGE_CONTROL_POLICY": str(lenient.change_control_policy),
        "HEMOTRIAGE_LEASE_SECONDS": "1",
    }
    trainer = subprocess.Popen([sys.executable, "-c", _TRAINER], env=environment)
    try:
        eventually(lambda: get_gate(sessions, gate.id).status is GateStatus.RUNNING)
    finally:
        trainer.send_signal(signal.SIGKILL)
        trainer.wait()
    assert get_gate(sessions, gate.id).status is GateStatus.RUNNING
    with gating(lenient, sessions, storage):
        found = ended(sessions, gate)
    assert (found.status, found.attempts) == (GateStatus.PASSED, 2)
