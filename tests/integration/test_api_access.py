"""Who may call what, what is documented, and what is not there."""

from __future__ import annotations

import datetime as dt
import json
import re

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from services.api.app import create_app
from shared.auth.keys import Scope, create_key, revoke_key
from shared.clock import utc_now

NOBODY = "00000000-0000-4000-8000-000000000000"
"""The id of nothing; the same in each process of the tests."""


@pytest.mark.parametrize(
    "path", [f"/v1/jobs/{NOBODY}", "/v1/jobs/1", "/v1/jobs/x/result", "/nowhere"]
)
def test_what_is_not_there_is_a_404_problem(client, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json["code"]) == (404, "not_found")
    assert answer.content_type == "application/problem+json"


def test_a_wrong_method_is_a_405_problem(client) -> None:
    answer = client.put("/v1/jobs")
    assert (answer.status_code, answer.json["code"]) == (405, "method_not_allowed")


PROTECTED = [
    ("POST", "/v1/jobs", Scope.SUBMIT),
    ("DELETE", f"/v1/jobs/{NOBODY}", Scope.SUBMIT),
    ("GET", "/v1/jobs", Scope.READ),
    ("GET", f"/v1/jobs/{NOBODY}", Scope.READ),
    ("GET", f"/v1/jobs/{NOBODY}/result", Scope.READ),
    ("GET", f"/v1/jobs/{NOBODY}/images/0", Scope.READ),
    ("GET", f"/v1/jobs/{NOBODY}/images/0/explanation", Scope.READ),
    ("POST", f"/v1/jobs/{NOBODY}/review", Scope.REVIEW),
    ("GET", "/v1/models", Scope.READ),
    ("GET", "/v1/models/cnn_custom/versions/1", Scope.READ),
    ("GET", "/v1/models/cnn_custom/versions/1/shadow", Scope.READ),
    ("GET", "/v1/models/cnn_custom/versions/1/shadow/disagreements", Scope.READ),
    ("POST", "/v1/models/cnn_custom/versions/1/gates", Scope.ADMIN),
    ("PUT", "/v1/models/cnn_custom/aliases/champion", Scope.ADMIN),
    ("DELETE", "/v1/models/aliases/challenger", Scope.ADMIN),
    ("POST", "/v1/models/rollback", Scope.ADMIN),
    ("GET", "/v1/gates", Scope.ADMIN),
    ("GET", f"/v1/gates/{NOBODY}", Scope.ADMIN),
    ("POST", "/v1/datasets", Scope.ADMIN),
    ("GET", "/v1/datasets", Scope.ADMIN),
    ("GET", f"/v1/datasets/{NOBODY}", Scope.ADMIN),
    ("GET", f"/v1/datasets/{NOBODY}/manifest", Scope.ADMIN),
    ("POST", "/v1/trainings", Scope.ADMIN),
    ("GET", "/v1/trainings", Scope.ADMIN),
    ("GET", f"/v1/trainings/{NOBODY}", Scope.ADMIN),
    ("GET", f"/v1/trainings/{NOBODY}/logs", Scope.ADMIN),
    ("GET", f"/v1/trainings/{NOBODY}/events", Scope.ADMIN),
    ("DELETE", f"/v1/trainings/{NOBODY}", Scope.ADMIN),
    ("GET", "/v1/audit", Scope.ADMIN),
    ("GET", "/v1/audit/checkpoint", Scope.ADMIN),
    ("POST", "/dicomweb/studies", Scope.SUBMIT),
    ("POST", "/dicomweb/studies/1.2.3", Scope.SUBMIT),
    ("GET", "/dicomweb/workitems", Scope.READ),
    ("POST", "/dicomweb/workitems", Scope.SUBMIT),
    ("GET", "/dicomweb/workitems/2.25.1", Scope.READ),
    ("POST", "/dicomweb/workitems/2.25.1", Scope.SUBMIT),
    ("PUT", "/dicomweb/workitems/2.25.1/state", Scope.SUBMIT),
    ("POST", "/dicomweb/workitems/2.25.1/cancelrequest", Scope.SUBMIT),
    ("GET", "/v1/orders", Scope.READ),
    ("POST", "/v1/orders", Scope.SUBMIT),
    ("GET", f"/v1/orders/{NOBODY}", Scope.READ),
    ("DELETE", f"/v1/orders/{NOBODY}", Scope.SUBMIT),
    ("GET", f"/v1/jobs/{NOBODY}/reviews", Scope.READ),
    ("POST", "/v1/holds", Scope.ADMIN),
    ("GET", "/v1/holds", Scope.ADMIN),
    ("DELETE", f"/v1/holds/{NOBODY}", Scope.ADMIN),
    ("POST", "/v1/erasures", Scope.ADMIN),
    ("GET", "/v1/erasures", Scope.ADMIN),
    ("GET", f"/v1/erasures/{NOBODY}", Scope.ADMIN),
]


@pytest.mark.parametrize(("method", "path", "scope"), PROTECTED)
def test_a_call_needs_a_key_with_its_scope(
    client, sessions, method: str, path: str, scope: Scope
) -> None:
    _, without = create_key(sessions, "without", set(Scope) - {scope})
    _, expired = create_key(
        sessions, "expired", list(Scope), expires_at=utc_now() - dt.timedelta(seconds=1)
    )
    revoked, revoked_text = create_key(sessions, "revoked", list(Scope))
    revoke_key(sessions, revoked.id)
    forged = without[:-4] + "AAAA"
    refused = {
        f"Bearer {without}": (403, "forbidden"),
        f"Bearer {expired}": (401, "key_expired"),
        f"Bearer {revoked_text}": (401, "key_revoked"),
        f"Bearer {forged}": (401, "unauthorized"),
        "Bearer nonsense": (401, "unauthorized"),
        "Basic dTpw": (401, "unauthorized"),
        "": (401, "unauthorized"),
    }
    for header, expected in refused.items():
        answer = client.open(path, method=method, headers={"Authorization": header})
        assert (answer.status_code, answer.json["code"]) == expected, header
    allowed = client.open(path, method=method)
    assert allowed.status_code not in (401, 403)


def test_every_route_but_health_metrics_and_documentation_is_protected(client) -> None:
    open_routes = {"/", "/healthz", "/readyz", "/metrics", "/openapi.json"}
    routes = client.application.url_map
    served = {
        (method, rule.rule)
        for rule in routes.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
        if rule.rule not in open_routes
        and not rule.rule.startswith(("/docs/", "/static/", "/console/"))
    }
    ways = routes.bind("localhost")
    named = {
        (method, ways.match(path, method, return_rule=True)[0].rule)
        for method, path, _ in PROTECTED
    }
    assert named == served
    assert len(named) == len(PROTECTED)


@pytest.mark.parametrize(("method", "path", "scope"), PROTECTED)
def test_of_all_scopes_one_opens_a_call(
    client, sessions, method: str, path: str, scope: Scope
) -> None:
    refusing = set()
    for held in Scope:
        _, key = create_key(sessions, str(held), [held])
        answer = client.open(path, method=method, headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code != 401
        if answer.status_code == 403:
            refusing.add(held)
    assert refusing == set(Scope) - {scope}


def test_keys_are_stored_as_hashes(sessions, database) -> None:
    _, key = create_key(sessions, "k", [Scope.READ])
    with database.connect() as connection:
        row = connection.execute(text("SELECT * FROM api_keys")).one()
    secret = key.split("_", 2)[2]
    assert all(secret not in str(value) for value in row)


def test_health_and_readiness(client, settings) -> None:
    assert client.get("/healthz").json == {"status": "ok"}
    ready = client.get("/readyz")
    assert ready.status_code == 200
    assert set(ready.json["checks"]) == {"database", "broker", "object_store", "models"}
    broken = settings.model_copy(update={"s3_endpoint": "127.0.0.1:9"})
    answer = create_app(broken).test_client().get("/readyz")
    assert answer.status_code == 503
    assert answer.json["checks"]["object_store"] == "storage_unavailable"
    assert answer.json["checks"]["database"] == "ok"


def test_a_database_that_is_down_is_a_503_at_once(settings) -> None:
    url = settings.database_url.get_secret_value()
    port = url.rsplit(":", 1)[1].split("/")[0]
    broken = settings.model_copy(update={"database_url": SecretStr(url.replace(port, "9"))})
    answer = (
        create_app(broken).test_client().get("/v1/jobs", headers={"Authorization": "Bearer ht_a_b"})
    )
    assert (answer.status_code, answer.json["code"]) == (503, "database_unavailable")
    assert answer.headers["Retry-After"]


def test_the_document_describes_the_upload_and_the_errors(client) -> None:
    document = client.get("/openapi.json").json
    post_operation = document["paths"]["/v1/jobs"]["post"]
    form_schema = post_operation["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert {"image", "priority", "model", "accession_number"} <= set(form_schema["properties"])
    assert "application/problem+json" in post_operation["responses"]["415"]["content"]
    promotion = document["paths"]["/v1/models/{name}/aliases/{alias}"]["put"]
    assert "X-Second-Key" in {parameter["name"] for parameter in promotion["parameters"]}
    get_operation = document["paths"]["/v1/jobs/{job_id}"]["get"]
    assert "application/problem+json" in get_operation["responses"]["404"]["content"]
    assert post_operation["security"] == [{"bearer": []}]
    assert "/" not in document["paths"]
    references = re.findall(r"#/components/schemas/([\w.]+)", json.dumps(document))
    assert set(references) <= set(document["components"]["schemas"])


def test_the_documentation_page_asks_no_other_host(client) -> None:
    page = client.get("/docs/").text
    assert "swagger-ui" in page
    assert "https://" not in page.replace("https://github.com/swagger-api", "")


def test_models_are_listed_with_their_cards(client) -> None:
    listed = client.get("/v1/models").json
    assert listed["aliases"]["champion"] in {
        f"{model['name']}@{model['version']}" for model in listed["models"]
    }
    card = client.get("/v1/models/cnn_custom/versions/1").json
    assert card["parameters"] == 127_300
    unknown = client.get("/v1/models/cnn_custom/versions/99")
    assert (unknown.status_code, unknown.json["code"]) == (404, "not_found")
