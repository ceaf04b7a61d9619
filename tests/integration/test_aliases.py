"""What aliases stand for, and who may change it."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from shared.db.models import AuditRow
from shared.db.session import Sessions
from shared.registry.aliases import (
    promote,
    read_aliases,
    retire_challenger,
    rollback,
    set_challenger,
)
from shared.registry.catalogue import Catalogue
from shared.registry.policy import ChangeControlPolicy
from shared.registry.states import Alias, AliasNotSetError, GateNotPassedError, RolledBackError
from tests.registry import SIGNED, judged


def audited(sessions: Sessions) -> list[tuple[str, dict[str, Any]]]:
    with sessions() as session:
        rows = session.scalars(select(AuditRow).order_by(AuditRow.id))
        return [(row.action, row.details) for row in rows if row.action.startswith("model.")]


@pytest.mark.parametrize(
    ("verdict", "objection"),
    [
        ({"status": "refused"}, "is refused"),
        ({"status": "passed", "champion": "student@1"}, "compared it with student@1"),
        ({"status": "passed", "policy": "0" * 64}, "another policy"),
        ({"status": "passed", "days_ago": 400}, "days ago"),
        ({"status": "queued"}, "is queued"),
    ],
)
def test_only_a_gate_that_says_something_of_today_lets_a_version_pass(
    sessions: Sessions,
    catalogue: Catalogue,
    policy: ChangeControlPolicy,
    verdict: dict[str, Any],
    objection: str,
) -> None:
    told = {"champion": "ensemble@1", "policy": policy.sha256, **verdict}
    judged(sessions, "student", 2, told.pop("status"), **told)
    version = catalogue.get("student", 2)
    named = {"champion": "ensemble@1", "policy": policy, "actor": "key:k"}
    with pytest.raises(GateNotPassedError, match=objection):
        promote(sessions, version, **named)
    with pytest.raises(GateNotPassedError, match=objection):
        set_challenger(sessions, version, canary_percent=1, **named)
    assert read_aliases(sessions) == {}
    assert audited(sessions) == []


def test_promotions_and_rollbacks_are_seen_by_all_and_audited(
    sessions: Sessions, catalogue: Catalogue, policy: ChangeControlPolicy
) -> None:
    assert catalogue.champion() == "ensemble@1"
    named = {"champion": "ensemble@1", "policy": policy, "actor": "key:k"}
    promote(sessions, catalogue.get("student", 2), override=SIGNED, **named)
    catalogue.refresh()
    assert catalogue.aliases() == {"champion": "student@2", "previous": "ensemble@1"}
    assert str(rollback(sessions, actor="key:k", reason="worse")) == "ensemble@1"
    catalogue.refresh()
    assert catalogue.aliases() == {"champion": "ensemble@1", "previous": "student@2"}
    rollback(sessions, actor="key:k")
    catalogue.refresh()
    assert catalogue.champion() == "student@2"
    (action, details), (back, why), _ = audited(sessions)
    assert (action, details["model"], details["previous"]) == (
        "model.promoted",
        "student@2",
        "ensemble@1",
    )
    assert (details["reason"], details["approver"]) == (SIGNED.reason, "key:another-key")
    assert "no gate" in details["objection"]
    assert (back, why["model"], why["reason"]) == ("model.rolled_back", "ensemble@1", "worse")


def test_a_canary_gets_its_share_of_the_champions_jobs_and_of_no_others(
    sessions: Sessions, catalogue: Catalogue, policy: ChangeControlPolicy
) -> None:
    named = {"champion": "ensemble@1", "policy": policy, "actor": "key:k"}
    student = catalogue.get("student", 2)
    set_challenger(sessions, student, **named)
    catalogue.refresh()
    since = read_aliases(sessions)[Alias.CHALLENGER].since
    assert str(catalogue.resolve_for_job("champion", 0.0)) == "ensemble@1"
    set_challenger(sessions, student, canary_percent=20, override=SIGNED, **named)
    catalogue.refresh()
    of_chance = {
        chance: str(catalogue.resolve_for_job("champion", chance)) for chance in (0, 0.199, 0.2)
    }
    assert of_chance == {0: "student@2", 0.199: "student@2", 0.2: "ensemble@1"}
    assert str(catalogue.resolve_for_job("ensemble@1", 0.0)) == "ensemble@1"
    assert read_aliases(sessions)[Alias.CHALLENGER].since == since, "it goes on looking"

    cnn = catalogue.get("cnn_custom", 1)
    promote(sessions, cnn, override=SIGNED, **named)
    assert read_aliases(sessions)[Alias.CHALLENGER].canary_percent == 0, "judged by another"
    set_challenger(sessions, student, canary_percent=20, override=SIGNED, **named)
    rollback(sessions, actor="key:k")
    assert read_aliases(sessions)[Alias.CHALLENGER].canary_percent == 0
    retire_challenger(sessions, actor="key:k")
    with pytest.raises(AliasNotSetError):
        retire_challenger(sessions, actor="key:k")


def test_a_challenger_that_becomes_champion_is_challenger_no_more(
    sessions: Sessions, catalogue: Catalogue, policy: ChangeControlPolicy
) -> None:
    named = {"champion": "ensemble@1", "policy": policy, "actor": "key:k"}
    student = catalogue.get("student", 2)
    set_challenger(sessions, student, **named)
    promote(sessions, student, override=SIGNED, **named)
    assert set(read_aliases(sessions)) == {Alias.CHAMPION, Alias.PREVIOUS}


def test_a_rollback_that_is_repeated_brings_nothing_back(
    sessions: Sessions, catalogue: Catalogue, policy: ChangeControlPolicy
) -> None:
    named = {"champion": "ensemble@1", "policy": policy, "actor": "key:k"}
    promote(sessions, catalogue.get("student", 2), override=SIGNED, **named)
    rollback(sessions, actor="key:k", expected="student@2")
    with pytest.raises(RolledBackError, match="ensemble@1"):
        rollback(sessions, actor="key:k", expected="student@2")
    assert str(read_aliases(sessions)[Alias.CHAMPION]) == "ensemble@1"


def test_a_shipped_champion_that_is_promoted_stays_whatever_is_shipped_later(
    sessions: Sessions, catalogue: Catalogue, policy: ChangeControlPolicy
) -> None:
    version = catalogue.get("ensemble", 1)
    for _ in range(2):
        promote(sessions, version, champion="ensemble@1", policy=policy, actor="key:k")
    assert str(read_aliases(sessions)[Alias.CHAMPION]) == "ensemble@1"
    assert [action for action, _ in audited(sessions)] == ["model.promoted"]
