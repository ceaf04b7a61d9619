"""Tokens of trusted issuers: JSON Web Tokens (RFC 7519) that are checked and never kept.

The checks are those of RFC 8725 (best current practices): only asymmetric algorithms, chosen here
and not by the token; keys only from the issuer's own address; issuer and audience are compared.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from joserfc import jwt
from joserfc.errors import (
    ExpiredTokenError,
    InvalidClaimError,
    JoseError,
    MissingClaimError,
)
from joserfc.jwk import Key
from joserfc.jws import JWSRegistry, extract_compact

from shared.auth.issuers import Issuer, claimed, granted_scopes, parse_issuers, parse_scope_map
from shared.auth.jwks import IssuerKeys
from shared.auth.scopes import Scope
from shared.auth.tenants import DEFAULT_TENANT, parse_tenant
from shared.errors import ForbiddenError, UnauthorizedError
from shared.settings import Settings

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
"""Neither `none` nor the HS family, whose key would be one that is public."""

LEEWAY_SECONDS = 30
"""How far the clocks of issuer and service may be apart."""

# RFC 7515, section 4: parameters of the header that are not understood are passed over.
_REGISTRY = JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)
_COMPACT = re.compile(r"[\w-]+\.[\w-]+\.[\w-]*", re.ASCII)
# OpenID Connect Core 1.0, section 2: at most 255 ASCII characters.
_SUBJECT = re.compile(r"[\x20-\x7e]{1,255}")


class TokenInvalidError(UnauthorizedError):
    """The token is not valid here."""

    code = "token_invalid"


class TokenExpiredError(TokenInvalidError):
    """The token has expired."""

    code = "token_expired"


class TenantMissingError(ForbiddenError):
    """The token names no tenant."""

    code = "tenant_missing"


@dataclass(frozen=True)
class Bearer:
    """Whom a token speaks of, what that allows here, for which tenant, and until when."""

    issuer: str
    subject: str
    scopes: frozenset[Scope]
    expires_at: dt.datetime
    tenant: str = DEFAULT_TENANT


class Tokens:
    """Checks tokens of the issuers in the settings; safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        issuers = parse_issuers(settings.oidc_issuers)
        self._issuers = {
            issuer.url: (issuer, IssuerKeys(issuer.url, settings)) for issuer in issuers
        }
        self._claim = settings.oidc_scope_claim
        self._scope_map = parse_scope_map(settings.oidc_scope_map)
        self._tenant_claim = settings.oidc_tenant_claim

    def reads(self, text: str) -> bool:
        """Whether a client sent a token and no API key."""
        return bool(self._issuers) and _COMPACT.fullmatch(text) is not None

    def verify(self, text: str) -> Bearer:
        """Check a token.

        Raises:
            TokenInvalidError: It is of no trusted issuer, for somebody else, or forged.
            TokenExpiredError: It is genuine, and its time is over.
            IssuerUnavailableError: Its key is not known, and the issuer does not answer.
            TenantMissingError: It is genuine, and lacks the claim that tells the tenant.
        """
        try:
            token = self._decode(text)
        except ExpiredTokenError as error:
            raise TokenExpiredError from error
        except (InvalidClaimError, MissingClaimError) as error:
            raise TokenInvalidError(error.description) from error
        except (JoseError, ValueError, TypeError, RecursionError) as error:
            # Nothing of the token is repeated.
            raise TokenInvalidError("It is damaged, or not signed by its issuer.") from error
        claims = token.claims
        if not _SUBJECT.fullmatch(claims["sub"]):
            raise TokenInvalidError("Its subject is not 1 to 255 ASCII characters.")
        tenant = self._tenant(claims)
        scopes = granted_scopes(claims, self._claim, self._scope_map)
        if tenant != DEFAULT_TENANT:
            scopes -= {Scope.ADMIN}
        return Bearer(claims["iss"], claims["sub"], scopes, _moment(claims["exp"]), tenant)

    def _tenant(self, claims: Mapping[str, object]) -> str:
        if not self._tenant_claim:
            return DEFAULT_TENANT
        said = claimed(claims, self._tenant_claim)
        try:
            return parse_tenant(said if isinstance(said, str) else "")
        except ValueError:
            raise TenantMissingError from None

    def _decode(self, text: str) -> jwt.Token:
        issuer, key = self._issuer_and_key(text)
        token = jwt.decode(text, key, registry=_REGISTRY)
        expected = jwt.JWTClaimsRegistry(
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": issuer.url},
            aud={"essential": True, "value": issuer.audience},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
        )
        expected.validate(token.claims)
        return token

    def _issuer_and_key(self, text: str) -> tuple[Issuer, Key]:
        """Whose token it says it is, and the key to check that with."""
        unverified = extract_compact(text.encode(), registry=_REGISTRY)
        header, claims = unverified.headers(), _claims(unverified.payload)
        issuer, keys = self._issuers.get(str(claims.get("iss")), (None, None))
        if issuer is None or keys is None:
            raise TokenInvalidError("Its issuer is not trusted here.")
        if header.get("alg") not in ALGORITHMS:
            raise TokenInvalidError("It is not signed by an accepted algorithm.")
        key = keys.find(header.get("kid"))
        if key is None:
            raise TokenInvalidError("Its issuer has no such key.")
        return issuer, key


def _claims(payload: bytes | None) -> dict[str, Any]:
    claims = json.loads(payload or b"")
    if not isinstance(claims, dict):
        raise TokenInvalidError("It has no claims.")
    return claims


def _moment(seconds: float) -> dt.datetime:
    """The last moment at which a token with this `exp` is taken."""
    try:
        return dt.datetime.fromtimestamp(seconds + LEEWAY_SECONDS, dt.UTC)
    except (OverflowError, ValueError, OSError):
        return dt.datetime.max.replace(tzinfo=dt.UTC)
