"""The public keys with which an issuer signs, by OpenID Connect Discovery 1.0 and RFC 7517."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

import httpx
from authlib.oidc.discovery import get_well_known_url  # type: ignore[import-untyped]
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import JWKRegistry, Key, KeySet

from shared.auth.bounded import bounded_options
from shared.auth.issuers import is_loopback, is_safe
from shared.errors import TransientError
from shared.settings import Settings

FETCH_PAUSE_SECONDS = 60.0
"""Keys are fetched once in so long, however many tokens name one that is not known."""

RETRY_SECONDS = 5.0
"""After so long an issuer is asked again that did not answer."""

FRESH_SECONDS = 600.0
"""After so long known keys are fetched again, because an issuer may have withdrawn one."""

_ASYMMETRIC = ("RSA", "EC")
# What a server's answer can raise; nested JSON is the RecursionError.
_UNUSABLE = (
    *(httpx.HTTPError, httpx.InvalidURL),
    *(ValueError, TypeError, KeyError, AttributeError, RecursionError),
)
_log = logging.getLogger(__name__)


class IssuerUnavailableError(TransientError):
    """The issuer of the token does not give its keys; try again later."""

    code = "issuer_unavailable"


class IssuerKeys:
    """The keys of one issuer, kept while it is away; safe to share between threads."""

    def __init__(self, url: str, settings: Settings) -> None:
        """Prepare; nothing is fetched before the first key is asked for."""
        self._url = url
        self._timeout = httpx.Timeout(
            settings.answer_timeout_seconds, connect=settings.connect_timeout_seconds
        )
        self._keys = KeySet([])
        self._fetched_at = self._asked_at = float("-inf")
        self._fetching = threading.Lock()

    def find(self, key_id: str | None) -> Key | None:
        """The key of this id, or the only one where the token names none; None: no such key.

        Raises:
            IssuerUnavailableError: It is not known, and the issuer did not answer.
        """
        key = self._known(key_id)
        if key is None:
            with self._fetching:
                self._fetch_after(RETRY_SECONDS if self._is_away else FETCH_PAUSE_SECONDS)
                key = self._known(key_id)
                if key is None and self._is_away:
                    raise IssuerUnavailableError
        elif self._is_old and self._fetching.acquire(blocking=False):
            try:
                self._fetch_after(FETCH_PAUSE_SECONDS)
            finally:
                self._fetching.release()
            key = self._known(key_id)
        return key

    def _known(self, key_id: str | None) -> Key | None:
        try:
            return self._keys.get_by_kid(key_id)
        except InvalidKeyIdError:
            return None

    @property
    def _is_away(self) -> bool:
        return self._fetched_at < self._asked_at

    @property
    def _is_old(self) -> bool:
        return time.monotonic() - self._fetched_at > FRESH_SECONDS

    def _fetch_after(self, pause: float) -> None:
        """Fetch the keys if that was last tried so long ago; those known stay if it fails."""
        if time.monotonic() - self._asked_at < pause:
            return
        self._asked_at = time.monotonic()
        try:
            self._keys = self._fetch()
        except _UNUSABLE as error:
            fields = {"issuer": self._url, "error": type(error).__name__}
            _log.warning("an issuer does not give its keys", extra=fields)
        else:
            self._fetched_at = self._asked_at

    def _fetch(self) -> KeySet:
        # A proxy that the environment names cannot reach this machine's own address.
        trust_env = not is_loopback(httpx.URL(self._url).host)
        options = bounded_options()
        with httpx.Client(timeout=self._timeout, trust_env=trust_env, **options) as http:
            found = _json(http, get_well_known_url(self._url, external=True))
            # Discovery 1.0, section 4.3: who answers must be who was asked.
            if found["issuer"] != self._url or not is_safe(found["jwks_uri"]):
                raise ValueError("the document is of another issuer, or its keys are not safe")
            return _usable(_json(http, found["jwks_uri"])["keys"])


def _json(http: httpx.Client, url: str) -> Any:
    return http.get(url, headers={"Accept": "application/json"}).raise_for_status().json()


def _usable(documents: list[dict[str, Any]]) -> KeySet:
    """The keys that signatures are checked with: public ones, for signing, that can be read."""
    keys = []
    for document in documents:
        if document.get("kty") in _ASYMMETRIC and document.get("use", "sig") == "sig":
            try:
                keys.append(JWKRegistry.import_key(document))
            except (JoseError, ValueError, KeyError):
                _log.warning(
                    "a key of an issuer cannot be read", extra={"kid": document.get("kid")}
                )
    return KeySet(keys)
