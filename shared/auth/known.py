"""Keys and tokens that were found valid a moment ago: not each request asks the database."""

from __future__ import annotations

import hashlib
import time

from shared.auth.identities import identify
from shared.auth.keys import ApiKey, authenticate, refuse_expired
from shared.auth.tokens import Tokens
from shared.db.session import Sessions

TRUST_SECONDS = 1.0
"""How long a key is trusted that was just found valid: a revoked one works for as long."""

_MOST = 1000


class KnownKeys:
    """Authenticates clients; safe to share between threads."""

    def __init__(self, sessions: Sessions, tokens: Tokens | None = None) -> None:
        """Prepare; without `tokens`, keys of this service alone are taken."""
        self._sessions = sessions
        self._tokens = tokens
        self._known: dict[bytes, tuple[float, ApiKey]] = {}

    def authenticate(self, text: str) -> ApiKey:
        """Find the key, or the identity of the token, that a client sent.

        Neither is kept in memory, only a hash. Beside these errors there are those of
        `shared.auth.tokens.Tokens.verify`.

        Raises:
            UnauthorizedError: It is no key of this service.
            KeyExpiredError: It is one, and has expired.
            KeyRevokedError: It is one, or an identity, and was revoked.
        """
        digest = hashlib.sha256(text.encode()).digest()
        asked_at, key = self._known.get(digest, (float("-inf"), None))
        if key is not None and time.monotonic() - asked_at < TRUST_SECONDS:
            refuse_expired(key)
            return key
        asked_at = time.monotonic()
        key = self._find(text)
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[digest] = (asked_at, key)
        return key

    def has_known(self, text: str) -> bool:
        """Whether a key or a token was found valid before, whatever has become of it."""
        return hashlib.sha256(text.encode()).digest() in self._known

    def _find(self, text: str) -> ApiKey:
        if self._tokens is not None and self._tokens.reads(text):
            return identify(self._sessions, self._tokens.verify(text))
        return authenticate(self._sessions, text)
