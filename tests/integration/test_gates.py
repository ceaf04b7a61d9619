"""The queue of gates: asked for, taken, ended, told."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from shared.datasets.states import DatasetNotReadyError
from shared.db import models
from shared.db.session import Sessions
from shared.errors import ConflictError, ModelArtefactError, NotFoundError
from shared.registry.gate_claim import ABANDONED, complete, give_up, hand_back, renew
from shared.registry.gates import get_gate, list_gates, newest_gate
from shared.registry.states import (
    Alias,
    Gate,
    GateClaim,
    GateStatus,
    NoLockedTestSetError,
)
from shared.storage import StorageUnavailableError
from tests.integration.gates import LEASE, LIMIT, a_report, asked, set_all, taken, told
from tests.registry import SHIPPED
from tests.trainings import a_ready_dataset


def test_the_words_of_the_schema_are_those_of_the_code() -> None:
    assert tuple(GateStatus) == models.GATE_STATUSES
    assert tuple(Alias) == models.MODEL_ALIASES


def test_a_gate_is_asked_for_the_newest_locked_test_set(sessions: Sessions) -> None:
    with pytest.raises(NoLockedTestSetError):
        asked(sessions)
    a_ready_dataset(sessions, locked=True)
    newest = a_ready_dataset(sessions, locked=True)
    a_ready_dataset(sessions)
    gate = asked(sessions)
    assert (gate.candidate, gate.champion, gate.dataset_id) == ("student@2", "student@1", newest)
    assert (gate.status, gate.attempts, gate.report) == (GateStatus.QUEUED, 0, None)
    details = {"gate": str(gate.id), "model": "student@2", "champion": "student@1"}
    assert told(sessions) == [
        ("key:k", "gate.requested", {**details, "dataset": str(newest)}),
    ]


def test_a_gate_is_not_asked_for_what_is_no_locked_test_set(sessions: Sessions) -> None:
    open_set = a_ready_dataset(sessions)
    with pytest.raises(ConflictError, match="no locked test set"):
        asked(sessions, dataset_id=open_set)
    with pytest.raises(NotFoundError):
        asked(sessions, dataset_id=uuid.uuid4())
    waiting = a_ready_dataset(sessions, locked=True)
    with sessions.begin() as session:
        session.execute(
            text(
                "UPDATE datasets SET status = 'queued', finished_at = NULL, version = NULL, record "
                "= NULL, statistics = NULL, faults = NULL, lineage = NULL, leaks = NULL "
                "WHERE locked"
            )
        )
    with pytest.raises(DatasetNotReadyError):
        asked(sessions, dataset_id=waiting)
    assert told(sessions) == []


def test_gates_are_listed_newest_first(sessions: Sessions) -> None:
    a_ready_dataset(sessions, locked=True)
    first, second = asked(sessions), asked(sessions)
    other = asked(sessions, version=SHIPPED.resolve("student@1"), champion=None)
    foreign = asked(sessions, version=SHIPPED.resolve("cnn_custom@1"))
    assert [gate.id for gate in list_gates(sessions, limit=3)] == [
        foreign.id,
        other.id,
        second.id,
    ]
    assert list_gates(sessions, name="student", version=2, limit=9) == [second, first]
    assert list_gates(sessions, name="student", limit=9) == [other, second, first]
    assert get_gate(sessions, first.id) == first
    with sessions() as session:
        assert newest_gate(session, "student", 2) == second
        assert newest_gate(session, "student", 3) is None
    with pytest.raises(NotFoundError):
        get_gate(sessions, uuid.uuid4())


def test_gates_are_taken_in_their_order_and_each_once(sessions: Sessions) -> None:
    dataset_id = a_ready_dataset(sessions, locked=True)
    first, second = asked(sessions), asked(sessions, champion=None)
    assert taken(sessions) == GateClaim(
        first.id, "student", 2, "student@1", dataset_id, "t1", attempt=1, failures=0
    )
    held = taken(sessions, "t2")
    assert (held and held.id, held and held.champion) == (second.id, None)
    assert taken(sessions) is None
    assert get_gate(sessions, first.id).status is GateStatus.RUNNING


@pytest.mark.parametrize("passed", [True, False])
def test_a_verdict_is_kept_with_its_policy_and_told(sessions: Sessions, passed: bool) -> None:
    a_ready_dataset(sessions, locked=True)
    gate = asked(sessions)
    report = a_report(passed=passed)
    assert complete(sessions, taken(sessions), report)
    found = get_gate(sessions, gate.id)
    verdict = "passed" if passed else "refused"
    assert (found.status, found.report, found.policy_sha256) == (verdict, report, "c" * 64)
    assert found.finished_at
    assert found.finished_at >= found.started_at >= found.requested_at
    details = {"gate": str(gate.id), "model": "student@2", "champion": "student@1"}
    assert told(sessions)[1:] == [
        ("worker:t1", f"gate.{verdict}", {**details, "reasons": report["reasons"]}),
    ]
    assert not complete(sessions, GateClaim(*_same(found), "t1", 1, 0), report)


def _same(gate: Gate) -> tuple[Any, ...]:
    return gate.id, gate.name, gate.version, gate.champion, gate.dataset_id


def test_nothing_but_true_passes(sessions: Sessions) -> None:
    a_ready_dataset(sessions, locked=True)
    gate = asked(sessions)
    assert complete(sessions, taken(sessions), {**a_report(), "passed": "yes"})
    assert get_gate(sessions, gate.id).status is GateStatus.REFUSED


def test_only_the_holder_ends_a_gate(sessions: Sessions) -> None:
    a_ready_dataset(sessions, locked=True)
    gate = asked(sessions)
    held = taken(sessions)
    assert renew(sessions, held, lease_seconds=LEASE)
    set_all(sessions, "lease_expires_at = now() - interval '1 s'")
    later = taken(sessions, "t2")
    assert (later.id, later.attempt, later.failures) == (gate.id, 2, 1)
    assert not renew(sessions, held, lease_seconds=LEASE)
    assert not complete(sessions, held, a_report())
    hand_back(sessions, held)
    give_up(sessions, held, ModelArtefactError(), max_attempts=LIMIT)
    assert get_gate(sessions, gate.id).status is GateStatus.RUNNING
    assert complete(sessions, later, a_report())


def test_what_kills_its_trainers_is_given_up(sessions: Sessions) -> None:
    a_ready_dataset(sessions, locked=True)
    gate = asked(sessions)
    for attempt in range(1, LIMIT + 1):
        assert taken(sessions).attempt == attempt
        set_all(sessions, "lease_expires_at = now() - interval '1 s'")
    assert taken(sessions) is None
    found = get_gate(sessions, gate.id)
    assert (found.status, found.error_code) == (GateStatus.FAILED, ABANDONED)
    actor, action, details = told(sessions)[-1]
    assert (actor, action, details["code"]) == ("worker:t1", "gate.failed", ABANDONED)


@pytest.mark.parametrize(
    ("error", "failures", "status"),
    [
        (StorageUnavailableError(), 0, GateStatus.QUEUED),
        (RuntimeError("Ada Lovelace"), 1, GateStatus.QUEUED),
        (ModelArtefactError("model.onnx"), 0, GateStatus.FAILED),
    ],
)
def test_an_outage_costs_nothing_and_what_cannot_be_judged_ends_it(
    sessions: Sessions, error: Exception, failures: int, status: GateStatus
) -> None:
    a_ready_dataset(sessions, locked=True)
    gate = asked(sessions)
    give_up(sessions, taken(sessions), error, max_attempts=LIMIT)
    assert get_gate(sessions, gate.id).status is status
    assert taken(sessions) is None  # what goes back waits a little
    set_all(sessions, "due_at = now()")
    again = taken(sessions)
    assert (again and again.failures) == (failures if status is GateStatus.QUEUED else None)


def test_a_clock_that_was_set_back_holds_up_no_gate(sessions: Sessions) -> None:
    a_ready_dataset(sessions, locked=True)
    asked(sessions)
    set_all(sessions, "due_at = now() + interval '1 hour'")
    assert taken(sessions)
    set_all(sessions, "lease_expires_at = now() + interval '1 hour'")
    assert taken(sessions, "t2")


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("status = 'passed', finished_at = now()", "report_when_judged"),
        ("status = 'running'", "lease_while_running"),
        ("status = 'failed', finished_at = now()", "failure_has_code"),
        ("finished_at = now()", "finished_when_ended"),
        ("failures = 1", "failures_are_attempts"),
    ],
)
def test_the_database_refuses_an_impossible_gate(
    sessions: Sessions, change: str, constraint: str
) -> None:
    a_ready_dataset(sessions, locked=True)
    asked(sessions)
    with pytest.raises(IntegrityError, match=f"ck_gates_{constraint}"):
        set_all(sessions, change)
