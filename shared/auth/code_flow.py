"""Signing in at an OpenID provider: the authorization code flow with PKCE.

OpenID Connect Core 1.0, section 3.1; RFC 7636 for PKCE; RFC 9700, section 2.1, for what a client
has to check. The audience that an issuer is configured with is the client of the console there.
"""

from __future__ import annotations

import base64
import hmac
import json
import secrets
from dataclasses import dataclass
from typing import Any

import httpx
from authlib.common.errors import AuthlibBaseError  # type: ignore[import-untyped]
from authlib.integrations.httpx_client import OAuth2Client  # type: ignore[import-untyped]
from authlib.oidc.discovery import get_well_known_url  # type: ignore[import-untyped]

from shared.auth.bounded import bounded_options
from shared.auth.issuers import Issuer, is_loopback, is_safe, parse_issuers
from shared.auth.jwks import IssuerUnavailableError
from shared.auth.tokens import TokenInvalidError
from shared.settings import Settings

SCOPE = "openid profile"


@dataclass(frozen=True)
class Attempt:
    """A sign-in that has begun; the browser's session keeps it until the issuer sends it back."""

    issuer: str
    state: str
    nonce: str
    verifier: str


class CodeFlow:
    """Signs in at one issuer; safe to share between threads."""

    def __init__(self, issuer: Issuer, settings: Settings) -> None:
        """Prepare; nobody is asked before the first sign-in."""
        self.issuer = issuer
        secret = settings.oidc_client_secret
        self._secret = secret.get_secret_value() if secret else None
        self._timeout = httpx.Timeout(
            settings.answer_timeout_seconds, connect=settings.connect_timeout_seconds
        )

    def begin(self, redirect_uri: str) -> tuple[str, Attempt]:
        """Where to send the browser, and what its session must keep until it is back.

        Raises:
            IssuerUnavailableError: The issuer does not say where.
        """
        attempt = Attempt(
            self.issuer.url,
            state=secrets.token_urlsafe(24),
            nonce=secrets.token_urlsafe(24),
            verifier=secrets.token_urlsafe(48),
        )
        with self._client(redirect_uri) as client:
            url, _ = client.create_authorization_url(
                self._endpoint("authorization_endpoint"),
                state=attempt.state,
                nonce=attempt.nonce,
                code_verifier=attempt.verifier,
            )
        return str(url), attempt

    def finish(self, attempt: Attempt, *, state: str, code: str, redirect_uri: str) -> str:
        """The ID token for the code that the issuer sent the browser back with.

        Its signature, issuer and audience are still to be checked, by `Tokens.verify`.

        Raises:
            TokenInvalidError: The code is of no sign-in that this browser began, or is refused.
            IssuerUnavailableError: The issuer does not answer.
        """
        if not _are_same(attempt.state, state):
            raise TokenInvalidError("This browser began no such sign-in.")
        try:
            with self._client(redirect_uri) as client:
                told = client.fetch_token(
                    self._endpoint("token_endpoint"), code=code, code_verifier=attempt.verifier
                )
        except httpx.HTTPError as error:
            raise IssuerUnavailableError from error
        except (AuthlibBaseError, ValueError, RecursionError) as error:
            raise TokenInvalidError("Its issuer refuses the code.") from error
        token = str(told.get("id_token", ""))
        if not _are_same(_nonce(token), attempt.nonce):
            raise TokenInvalidError("It was made for another sign-in.")
        return token

    def _client(self, redirect_uri: str) -> Any:
        return OAuth2Client(
            client_id=self.issuer.audience,
            client_secret=self._secret,
            token_endpoint_auth_method="client_secret_basic" if self._secret else "none",
            scope=SCOPE,
            redirect_uri=redirect_uri,
            code_challenge_method="S256",
            timeout=self._timeout,
            # A proxy that the environment names cannot reach this machine's own address.
            trust_env=not is_loopback(httpx.URL(self.issuer.url).host),
            **bounded_options(),
        )

    def _endpoint(self, name: str) -> str:
        """An endpoint of the discovery document (OpenID Connect Discovery 1.0, section 3)."""
        trust_env = not is_loopback(httpx.URL(self.issuer.url).host)
        try:
            options = bounded_options()
            with httpx.Client(timeout=self._timeout, trust_env=trust_env, **options) as http:
                answer = http.get(get_well_known_url(self.issuer.url, external=True))
                found = answer.raise_for_status().json()
                if found["issuer"] != self.issuer.url or not is_safe(found[name]):
                    raise IssuerUnavailableError("It says of itself what cannot be used.")
                return str(found[name])
        except (httpx.HTTPError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise IssuerUnavailableError from error


def code_flows(settings: Settings) -> dict[str, CodeFlow]:
    """The issuers at which people may sign in, by their URLs."""
    return {
        issuer.url: CodeFlow(issuer, settings) for issuer in parse_issuers(settings.oidc_issuers)
    }


def _are_same(one: str, other: str) -> bool:
    # As bytes: of texts it takes those in ASCII alone, and they come from outside.
    return hmac.compare_digest(one.encode(), other.encode())


def _nonce(token: str) -> str:
    """The nonce that a token names; empty where it names none."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return str(claims.get("nonce", ""))
    except (IndexError, ValueError, AttributeError):
        return ""
