"""Model versions over HTTP: listed, promoted, challenged, rolled back."""

from __future__ import annotations

import datetime as dt
import uuid
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select

from services.api.app import create_app
from shared.auth.keys import Scope, create_key, revoke_key
from shared.clock import utc_now
from shared.db.models import AuditRow, JobRow
from shared.db.session import Sessions
from shared.registry.policy import ChangeControlPolicy
from shared.settings import Settings
from shared.storage.s3 import S3Store
from tests.factories import smear_bytes
from tests.integration.jobs import count
from tests.integration.posting import authorised, post
from tests.registry import judged, registered_again
from tests.trainings import a_ready_dataset

CHAMPION = "/v1/models/student/aliases/champion"
CHALLENGER = "/v1/models/student/aliases/challenger"
WHY = {"version": 2, "reason": "the ensemble is too slow for us"}
SHIPPED = {"aliases": {"champion": "ensemble@1"}, "canary_percent": 0}


@pytest.fixture
def signed(sessions: Sessions) -> dict[str, str]:
    """The header of a second admin who agrees."""
    return {"X-Second-Key": create_key(sessions, "second", [Scope.ADMIN])[1]}


@pytest.fixture
def empty(settings: Settings, sessions: Sessions, storage: S3Store, tmp_path: Path) -> FlaskClient:
    """A client of a service without any model."""
    return authorised(create_app(settings.model_copy(update={"models_dir": tmp_path})), sessions)


def told(sessions: Sessions) -> list[tuple[str, str, dict[str, Any]]]:
    """Who did what with models, by the audit trail."""
    with sessions() as session:
        rows = session.scalars(select(AuditRow).order_by(AuditRow.id))
        return [
            (row.action, row.actor, row.details)
            for row in rows
            if row.action.startswith(("model.", "gate."))
        ]


def own_key(client: FlaskClient) -> str:
    return str(client.environ_base["HTTP_AUTHORIZATION"]).partition(" ")[2]


def model_of_job(client: FlaskClient, **fields: str) -> str:
    """The version that a new job is for."""
    accepted = post(client, smear_bytes(), **fields)
    assert accepted.status_code == 202, accepted.json
    return str(client.get(accepted.headers["Location"]).json["model"])


def test_versions_are_listed_with_where_they_are_from(
    client: FlaskClient, sessions: Sessions, storage: S3Store
) -> None:
    made = registered_again(sessions, storage, "cnn_custom@1")
    judged(sessions, "cnn_custom", 1001, "refused", champion="student@1", days_ago=2)
    judged(sessions, "cnn_custom", 1001, "passed", champion="ensemble@1")
    listed = client.get("/v1/models").json
    assert (listed["aliases"], listed["canary_percent"]) == ({"champion": "ensemble@1"}, 0)
    models = {f"{model['name']}@{model['version']}": model for model in listed["models"]}
    assert made == "cnn_custom@1001"
    new, old = models[made], models["cnn_custom@1"]
    assert (new["origin"], old["origin"]) == ("registered", "shipped")
    assert new["metrics"] == old["metrics"]
    assert uuid.UUID(new["training_id"])
    assert dt.datetime.fromisoformat(new["registered_at"]) <= utc_now()
    assert (new["gate"]["status"], new["gate"]["champion"]) == ("passed", "ensemble@1")
    assert client.get(f"/v1/gates/{new['gate']['id']}").json["model"] == made
    assert [old[name] for name in ("training_id", "registered_at", "gate")] == [None] * 3
    assert models["ensemble@1"]["aliases"] == ["champion"]
    card = client.get("/v1/models/cnn_custom/versions/1001").json
    assert (card["version"], card["parameters"]) == (1001, 127_300)


@pytest.mark.parametrize(
    "path", ["cnn_custom/versions/99", "%00/versions/1", f"a/versions/{9**30}"]
)
def test_a_version_that_is_not_there_is_a_404(client: FlaskClient, path: str) -> None:
    for answer in (client.get(f"/v1/models/{path}"), client.post(f"/v1/models/{path}/gates")):
        assert (answer.status_code, answer.json["code"]) == (404, "not_found")


def test_a_version_that_has_passed_its_gate_is_promoted_by_one_key(
    client: FlaskClient, sessions: Sessions, policy: ChangeControlPolicy
) -> None:
    judged(sessions, "student", 2, "passed", champion="ensemble@1", policy=policy.sha256)
    answer = client.put(CHAMPION, json={"version": 2})
    assert (answer.status_code, answer.json) == (
        200,
        {"aliases": {"champion": "student@2", "previous": "ensemble@1"}, "canary_percent": 0},
    )
    assert model_of_job(client) == "student@2"
    ((action, actor, details),) = told(sessions)
    assert (action, details["model"], "reason" in details) == ("model.promoted", "student@2", False)
    assert actor == f"key:{own_key(client).split('_')[1]}"


def test_two_admins_may_promote_what_no_gate_has_passed_and_roll_it_back(
    client: FlaskClient, sessions: Sessions, signed: dict[str, str]
) -> None:
    changed = client.put(CHAMPION, json=WHY, headers=signed)
    assert changed.status_code == 200
    assert changed.json["aliases"] == {"champion": "student@2", "previous": "ensemble@1"}
    assert client.get("/v1/models").json["aliases"] == changed.json["aliases"]
    assert model_of_job(client) == model_of_job(client, model="champion") == "student@2"

    back = client.post("/v1/models/rollback", json={"reason": "too many reviews"})
    assert back.json["aliases"] == {"champion": "ensemble@1", "previous": "student@2"}
    assert model_of_job(client) == "ensemble@1"
    deep = client.post("/v1/models/rollback", data="[" * 60_000, content_type="application/json")
    assert (deep.status_code, deep.json["code"]) == (400, "bad_request")
    repeated = client.post("/v1/models/rollback", json={"champion": "student@2"})
    assert (repeated.status_code, repeated.json["code"]) == (409, "not_champion")
    assert client.post("/v1/models/rollback").json["aliases"]["champion"] == "student@2"

    (promoted, actor, why), (rolled_back, _, details), _ = told(sessions)
    assert (promoted, why["reason"]) == ("model.promoted", WHY["reason"])
    assert why["approver"] == f"key:{signed['X-Second-Key'].split('_')[1]}" != actor
    assert (rolled_back, details["reason"]) == ("model.rolled_back", "too many reviews")
    assert signed["X-Second-Key"] not in str(told(sessions))


def test_a_canary_gets_its_share_of_the_jobs_for_the_champion(
    client: FlaskClient, sessions: Sessions, signed: dict[str, str]
) -> None:
    watching = client.put(CHALLENGER, json={"version": 2})
    assert watching.json == {
        "aliases": {"champion": "ensemble@1", "challenger": "student@2"},
        "canary_percent": 0,
    }
    assert {model_of_job(client) for _ in range(5)} == {"ensemble@1"}
    all_of_them = client.put(CHALLENGER, json={**WHY, "canary_percent": 100}, headers=signed)
    assert (all_of_them.status_code, all_of_them.json["canary_percent"]) == (200, 100)
    assert {model_of_job(client) for _ in range(5)} == {"student@2"}
    assert model_of_job(client, model="cnn_custom") == "cnn_custom@2", "only the champion's"

    retired = client.delete("/v1/models/aliases/challenger")
    assert (retired.status_code, retired.json) == (200, SHIPPED)
    assert model_of_job(client) == "ensemble@1"
    again = client.delete("/v1/models/aliases/challenger")
    assert (again.status_code, again.json["code"]) == (409, "alias_not_set")
    assert [action for action, _, _ in told(sessions)] == [
        "model.challenger_set",
        "model.challenger_set",
        "model.challenger_retired",
    ]


@pytest.mark.parametrize(
    ("path", "body", "refusal"),
    [
        (CHAMPION, {"version": 2}, (409, "gate_not_passed")),
        (CHAMPION, WHY, (409, "gate_not_passed")),
        (CHALLENGER, {"version": 2, "canary_percent": 1}, (409, "gate_not_passed")),
        (CHALLENGER.replace("student", "ensemble"), {"version": 1}, (409, "conflict")),
        (CHAMPION, {"version": 99}, (404, "not_found")),
        (CHAMPION.replace("champion", "favourite"), {"version": 2}, (404, "not_found")),
        (CHAMPION.replace("student", "nobody"), {"version": 1}, (404, "not_found")),
        (CHAMPION.replace("champion", "previous"), {"version": 2}, (422, "validation_failed")),
        (CHAMPION, {"version": 2, "canary_percent": 5}, (422, "validation_failed")),
        (CHALLENGER, {"version": 2, "canary_percent": 101}, (422, "validation_failed")),
        (CHALLENGER, {"version": 2, "canary_percent": -1}, (422, "validation_failed")),
        (CHALLENGER, {"version": 2, "canary_percent": True}, (422, "validation_failed")),
        (CHAMPION, {"version": 2, "force": True}, (422, "validation_failed")),
        (CHAMPION, {"version": "2"}, (422, "validation_failed")),
        (CHAMPION, {"version": 0}, (422, "validation_failed")),
        (CHAMPION, {"version": 10**30}, (422, "validation_failed")),
        (CHAMPION, {}, (422, "validation_failed")),
        (CHAMPION, {"version": 2, "reason": "so"}, (422, "validation_failed")),
        (CHAMPION, {"version": 2, "reason": "x" * 501}, (422, "validation_failed")),
        (CHAMPION, {"version": 2, "reason": "two\nlines"}, (422, "validation_failed")),
        (CHAMPION, {"version": 2, "reason": "a\x00b\x00c"}, (422, "validation_failed")),
        (CHAMPION, {"version": 2, "reason": "\ud800 is half a letter"}, (422, "validation_failed")),
    ],
)
def test_what_may_not_be_is_refused_and_changes_nothing(
    client: FlaskClient,
    sessions: Sessions,
    path: str,
    body: dict[str, Any],
    refusal: tuple[int, str],
) -> None:
    answer = client.put(path, json=body)
    assert (answer.status_code, answer.json["code"]) == refusal
    assert answer.content_type == "application/problem+json"
    listed = client.get("/v1/models").json
    assert {name: listed[name] for name in SHIPPED} == SHIPPED
    assert told(sessions) == []


def test_half_an_override_is_told_what_is_missing(
    client: FlaskClient, sessions: Sessions, signed: dict[str, str]
) -> None:
    neither = client.put(CHAMPION, json={"version": 2})
    without_key = client.put(CHAMPION, json=WHY)
    without_reason = client.put(CHAMPION, json={"version": 2}, headers=signed)
    codes = {answer.json["code"] for answer in (neither, without_key, without_reason)}
    assert codes == {"gate_not_passed"}
    assert "no gate was asked for" in neither.json["detail"]
    assert "X-Second-Key" in without_key.json["detail"]
    assert "A reason is missing" in without_reason.json["detail"]
    assert told(sessions) == []


def test_only_another_valid_admins_key_can_agree(
    client: FlaskClient, sessions: Sessions, policy: ChangeControlPolicy
) -> None:
    others = set(Scope) - {Scope.ADMIN}
    _, no_admin = create_key(sessions, "no admin", others)
    past = utc_now() - dt.timedelta(seconds=1)
    _, expired = create_key(sessions, "expired", [Scope.ADMIN], expires_at=past)
    revoked, revoked_text = create_key(sessions, "revoked", [Scope.ADMIN])
    revoke_key(sessions, revoked.id)
    forged = revoked_text[:-4] + "AAAA"
    # A key that may not agree is refused even where none is needed.
    judged(sessions, "student", 2, "passed", champion="ensemble@1", policy=policy.sha256)
    for text in (own_key(client), no_admin, expired, revoked_text, forged, "nonsense", "", "é"):
        answer = client.put(CHAMPION, json=WHY, headers={"X-Second-Key": text})
        assert (answer.status_code, answer.json["code"]) == (403, "second_key_invalid"), text
        assert not text or text not in answer.text
    assert told(sessions) == []
    assert client.get("/v1/models").json["aliases"] == SHIPPED["aliases"]


def test_nothing_is_rolled_back_where_nothing_was_promoted(
    client: FlaskClient, sessions: Sessions
) -> None:
    answer = client.post("/v1/models/rollback")
    assert (answer.status_code, answer.json["code"]) == (409, "alias_not_set")
    odd = client.post("/v1/models/rollback", json={"to": "student@1"})
    assert (odd.status_code, odd.json["code"]) == (422, "validation_failed")
    broken = client.post("/v1/models/rollback", data=b"{", content_type="application/json")
    assert (broken.status_code, broken.json["code"]) == (400, "bad_request")
    large = client.post("/v1/models/rollback", json={"reason": "x" * 70_000})
    assert (large.status_code, large.json["code"]) == (413, "payload_too_large")
    assert told(sessions) == []


def test_a_promotion_is_seen_by_another_process_within_a_second(
    client: FlaskClient, settings: Settings, sessions: Sessions, signed: dict[str, str]
) -> None:
    other = authorised(create_app(settings), sessions)
    assert other.get("/v1/models").json["aliases"] == SHIPPED["aliases"]
    client.put(CHAMPION, json=WHY, headers=signed)
    deadline = utc_now() + dt.timedelta(seconds=5)
    while model_of_job(other) == "ensemble@1":
        assert utc_now() < deadline


def test_what_aliases_stand_for_is_told_by_every_process_at_once(
    client: FlaskClient, settings: Settings, sessions: Sessions
) -> None:
    other = authorised(create_app(settings), sessions)
    for version in (2, 1):
        assert client.put(CHALLENGER, json={"version": version}).status_code == 200
        assert other.get("/v1/models").json["aliases"]["challenger"] == f"student@{version}"
    client.delete("/v1/models/aliases/challenger")
    assert other.get("/v1/models").json["aliases"] == SHIPPED["aliases"]


def test_a_service_without_a_model_is_ready_and_refuses_jobs(
    empty: FlaskClient, sessions: Sessions
) -> None:
    ready = empty.get("/readyz")
    assert (ready.status_code, ready.json["status"]) == (200, "ok")
    assert ready.json["checks"]["models"] == "no_champion"
    listed = empty.get("/v1/models").json
    assert listed == {"models": [], "aliases": {}, "canary_percent": 0}
    for name, code in {"champion": "no_champion", "student@2": "unknown_model"}.items():
        refused = post(empty, smear_bytes(), model=name)
        assert (refused.status_code, refused.json["code"]) == (422, code)
    assert count(sessions, JobRow) == 0


def test_the_first_champion_of_an_empty_registry_has_none_before_it(
    empty: FlaskClient, sessions: Sessions, storage: S3Store, policy: ChangeControlPolicy
) -> None:
    assert registered_again(sessions, storage, "cnn_custom@1") == "cnn_custom@1001"
    a_ready_dataset(sessions, locked=True)
    gate = empty.post("/v1/models/cnn_custom/versions/1001/gates").json
    assert (gate["champion"], gate["status"]) == (None, "queued")
    path = "/v1/models/cnn_custom/aliases/champion"
    refused = empty.put(path, json={"version": 1001})
    assert (refused.status_code, refused.json["code"]) == (409, "gate_not_passed")
    judged(sessions, "cnn_custom", 1001, "passed", champion=None, policy=policy.sha256)
    promoted = empty.put(path, json={"version": 1001})
    assert promoted.json["aliases"] == {"champion": "cnn_custom@1001"}
    assert model_of_job(empty) == "cnn_custom@1001"
    assert empty.get("/readyz").json["checks"]["models"] == "ok"
    back = empty.post("/v1/models/rollback")
    assert (back.status_code, back.json["code"]) == (409, "alias_not_set")
