"""Tokens of an OpenID provider in the place of API keys."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select, text

from services.api.app import create_app
from shared.auth import jwks
from shared.auth.jwks import IssuerKeys
from shared.auth.keys import list_keys, revoke_key
from shared.auth.tokens import LEEWAY_SECONDS
from shared.db.models import AuditRow
from shared.settings import Settings
from tests.factories import smear_bytes
from tests.integration.posting import authorised, form
from tests.oidc_issuer import JWKS, WELL_KNOWN, Issuer, signed_with_public_key, unsigned
from tests.waiting import eventually


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    running = Issuer()
    yield running
    running.close()


@pytest.fixture
def trusting(settings: Settings, issuer: Issuer) -> Settings:
    return settings.model_copy(update={"oidc_issuers": issuer.setting})


@pytest.fixture
def stranger(trusting: Settings, sessions, storage) -> FlaskClient:
    """A client without a key."""
    return create_app(trusting).test_client()


def ask(client: FlaskClient, token: str, path: str = "/v1/jobs", **more: Any):
    return client.open(path, headers={"Authorization": f"Bearer {token}"}, **more)


def code_of(answer) -> tuple[int, str]:
    return answer.status_code, answer.json["code"]


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256"])
def test_a_token_is_taken_in_the_place_of_a_key(stranger, issuer, algorithm: str) -> None:
    issuer.rotate(algorithm)
    assert ask(stranger, issuer.token()).status_code == 200


@pytest.mark.parametrize(
    ("scope", "jobs", "audit"),
    [
        ("openid hemotriage.read hemotriage.admin", 200, 200),
        (["hemotriage.admin"], 403, 200),
        ("hemotriage.read", 200, 403),
        ("read admin hemotriage.all", 403, 403),
        (None, 403, 403),
        ({"hemotriage.read": True}, 403, 403),
    ],
)
def test_a_token_allows_what_its_scopes_say(
    stranger, issuer, scope: object, jobs: int, audit: int
) -> None:
    token = issuer.token(scope)
    assert ask(stranger, token).status_code == jobs
    assert ask(stranger, token, "/v1/audit").status_code == audit


@pytest.mark.parametrize(
    ("claim", "told"),
    [
        ("realm_access.roles", {"realm_access": {"roles": ["lab-head", "other"]}}),
        ("https://lab.example/roles", {"https://lab.example/roles": ["lab-head"]}),
    ],
)
def test_roles_allow_what_they_are_mapped_to(
    trusting, sessions, issuer, claim: str, told: dict[str, Any]
) -> None:
    roles = {"oidc_scope_claim": claim, "oidc_scope_map": "lab-head=admin, lab-head=read"}
    client = create_app(trusting.model_copy(update=roles)).test_client()
    token = issuer.token("hemotriage.submit", **told)
    assert ask(client, token, "/v1/audit").status_code == 200
    assert ask(client, token).status_code == 200
    refused = ask(client, token, method="POST", data=form(smear_bytes()))
    assert code_of(refused) == (403, "forbidden"), "only the claim of the settings counts"


MINUTE = 60
WRONG: dict[str, Callable[[Issuer], str]] = {
    "for somebody else": lambda issuer: issuer.token(aud="pacs"),
    "without an audience": lambda issuer: issuer.token(aud=None),
    "without an end": lambda issuer: issuer.token(exp=None),
    "with an end that is no time": lambda issuer: issuer.token(exp="never"),
    "without a beginning": lambda issuer: issuer.token(iat=None),
    "not valid yet": lambda issuer: issuer.token(nbf=int(time.time()) + MINUTE),
    "issued in the future": lambda issuer: issuer.token(iat=int(time.time()) + MINUTE),
    "of another issuer": lambda issuer: issuer.token(iss=f"{issuer.url}2"),
    "of an issuer that differs by a slash": lambda issuer: issuer.token(iss=f"{issuer.url}/"),
    "without a subject": lambda issuer: issuer.token(sub=None),
    "with an empty subject": lambda issuer: issuer.token(sub=""),
    "with a subject too long": lambda issuer: issuer.token(sub="x" * 256),
    "with a subject that is no text": lambda issuer: issuer.token(sub=7),
    "unsigned": lambda issuer: unsigned(issuer.token()),
    "signed by a public secret": lambda issuer: signed_with_public_key(issuer, issuer.token()),
    "with another's signature": lambda issuer: (
        issuer.token("hemotriage.admin").rpartition(".")[0]
        + "."
        + issuer.token().rpartition(".")[2]
    ),
    "with a signature cut short": lambda issuer: issuer.token()[:-8],
    "with a key that is not there": lambda issuer: issuer.token(header={"kid": "none such"}),
    "with a key for encryption": lambda issuer: issuer.token(header={"kid": "enc"}),
    "with no claims": lambda issuer: "e30.W10.e30",
    "nested without end": lambda issuer: "e30." + "W1tb" * 1500 + ".e30",
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_token_that_is_not_right_is_refused(stranger, sessions, issuer, kind: str) -> None:
    answer = ask(stranger, WRONG[kind](issuer))
    assert code_of(answer) == (401, "token_invalid")
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert list_keys(sessions) == [], "nobody was vouched for"


def test_clocks_may_differ_a_little_and_no_more(stranger, issuer) -> None:
    now = int(time.time())
    assert ask(stranger, issuer.token(exp=now - 5)).status_code == 200
    assert ask(stranger, issuer.token(nbf=now + 15, iat=now + 15)).status_code == 200
    expired = ask(stranger, issuer.token(exp=now - MINUTE))
    assert code_of(expired) == (401, "token_expired")


def test_an_audience_among_others_is_enough(stranger, issuer) -> None:
    assert ask(stranger, issuer.token(aud=["pacs", "hemotriage"])).status_code == 200


def test_without_trusted_issuers_no_token_is_taken(settings, sessions, issuer) -> None:
    client = create_app(settings).test_client()
    assert code_of(ask(client, issuer.token())) == (401, "unauthorized")
    assert issuer.asked == []


def test_what_somebody_does_is_theirs_by_one_identity(stranger, sessions, issuer, database) -> None:
    scopes = "hemotriage.submit hemotriage.read"
    for token in (issuer.token(scopes), issuer.token(scopes)):
        accepted = ask(stranger, token, method="POST", data=form(smear_bytes()))
        assert accepted.status_code == 202
    other = issuer.token(scopes, sub="other")
    assert ask(stranger, other).status_code == 200
    first, second = list_keys(sessions)
    assert (first.issuer, first.subject, first.scopes) == (issuer.url, "jdoe", frozenset())
    assert (second.subject, first.id == second.id) == ("other", False)
    with sessions() as session:
        submitted = session.scalars(select(AuditRow).where(AuditRow.action == "job.submitted"))
        assert {row.actor for row in submitted} == {f"key:{first.id}"}
    with database.connect() as connection:
        dump = str(connection.execute(text("SELECT * FROM api_keys")).all())
    assert not any(part in dump for part in other.split("."))


def test_an_identity_that_is_revoked_is_refused(stranger, sessions, issuer) -> None:
    assert ask(stranger, issuer.token()).status_code == 200
    (identity,) = list_keys(sessions)
    revoke_key(sessions, identity.id)
    fresh = issuer.token(jti="another token")
    assert code_of(ask(stranger, fresh)) == (401, "key_revoked")


def test_the_row_of_an_identity_opens_to_no_secret(stranger, sessions, issuer) -> None:
    ask(stranger, issuer.token())
    (identity,) = list_keys(sessions)
    for secret in ("", "x", "0" * 64):
        assert code_of(ask(stranger, f"ht_{identity.id}_{secret}")) == (401, "unauthorized")


def test_keys_go_on_beside_tokens(trusting, sessions) -> None:
    client = authorised(create_app(trusting), sessions)
    assert client.get("/v1/jobs").status_code == 200


def test_a_token_is_the_second_key_of_an_admin(trusting, sessions, storage, issuer) -> None:
    client = authorised(create_app(trusting), sessions)
    forced = {"version": 1, "reason": "no test set yet"}
    path = "/v1/models/cnn_custom/aliases/champion"
    for scope, status in (("hemotriage.read", 403), ("hemotriage.admin", 200)):
        headers = {"X-Second-Key": issuer.token(scope)}
        assert client.put(path, json=forced, headers=headers).status_code == status
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {issuer.token('hemotriage.admin')}"
    headers = {"X-Second-Key": issuer.token("hemotriage.admin", jti="mine too")}
    refused = client.put(path, json=forced, headers=headers)
    assert code_of(refused) == (403, "second_key_invalid"), "two tokens, and one person"


def test_keys_are_fetched_once_and_kept_while_the_issuer_is_away(stranger, issuer) -> None:
    for number in range(3):
        assert ask(stranger, issuer.token(jti=str(number))).status_code == 200
    assert issuer.asked == [WELL_KNOWN, JWKS]
    issuer.is_away = True
    assert ask(stranger, issuer.token(jti="later")).status_code == 200


def test_an_issuer_that_is_away_is_no_fault_of_the_token(stranger, issuer) -> None:
    issuer.is_away = True
    refused = ask(stranger, issuer.token())
    assert code_of(refused) == (503, "issuer_unavailable")
    assert refused.headers["Retry-After"]
    ask(stranger, issuer.token(jti="at once again"))
    assert issuer.asked == [WELL_KNOWN], "it is not asked again at once"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets time pass for what is kept of an issuer."""
    passed = [0.0]

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return time.monotonic() + passed[0]

    monkeypatch.setattr(jwks, "time", Clock)

    def pass_by(seconds: float) -> None:
        passed[0] += seconds

    return pass_by


def test_a_new_key_is_fetched_at_most_once_a_minute(stranger, issuer, clock) -> None:
    assert ask(stranger, issuer.token()).status_code == 200
    issuer.rotate("ES256")
    assert code_of(ask(stranger, issuer.token())) == (401, "token_invalid")
    assert issuer.asked.count(JWKS) == 1
    clock(jwks.FETCH_PAUSE_SECONDS)
    assert ask(stranger, issuer.token()).status_code == 200
    for number in range(5):
        ask(stranger, issuer.token(header={"kid": f"made up {number}"}))
    assert issuer.asked.count(JWKS) == 2


def test_an_issuer_that_is_back_is_asked_again_soon(stranger, issuer, clock) -> None:
    issuer.is_away = True
    assert ask(stranger, issuer.token()).status_code == 503
    issuer.is_away = False
    clock(jwks.RETRY_SECONDS)
    assert ask(stranger, issuer.token()).status_code == 200


def test_a_key_that_was_withdrawn_is_refused_once_the_known_are_old(
    trusting, issuer, clock
) -> None:
    keys = IssuerKeys(issuer.url, trusting)
    withdrawn = issuer.signing
    assert keys.find(withdrawn) is not None
    issuer.rotate("RS256")
    del issuer.keys[withdrawn]
    clock(jwks.FRESH_SECONDS / 2)
    assert keys.find(withdrawn) is not None
    issuer.is_away = True
    clock(jwks.FRESH_SECONDS)
    assert keys.find(withdrawn) is not None, "it cannot be asked"
    issuer.is_away = False
    clock(jwks.FETCH_PAUSE_SECONDS)
    assert keys.find(withdrawn) is None
    assert keys.find(issuer.signing) is not None


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://elsewhere.example"},
        {"jwks_uri": "http://keys.example/certs"},
        {"jwks_uri": None},
    ],
)
def test_a_discovery_document_that_is_not_right_is_not_followed(
    stranger, issuer, document: dict[str, Any]
) -> None:
    issuer.document = document
    assert code_of(ask(stranger, issuer.token())) == (503, "issuer_unavailable")
    assert JWKS not in issuer.asked


def test_tokens_are_not_logged(stranger, issuer, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    good, bad = issuer.token(), issuer.token(aud="pacs")
    for token in (good, bad):
        ask(stranger, token)
    issuer.is_away = True
    ask(stranger, issuer.token(header={"kid": "new"}))
    logged = "".join(str(vars(record)) for record in caplog.records)
    assert "request" in logged
    assert not any(part in logged for token in (good, bad) for part in token.split(".")[1:])


def test_a_token_that_is_known_ends_with_its_time(stranger, issuer) -> None:
    token = issuer.token(exp=int(time.time()) - LEEWAY_SECONDS + 5)
    assert ask(stranger, token).status_code == 200
    eventually(lambda: ask(stranger, token).status_code == 401, 20)
