"""Keys that were found valid a moment ago, so that not each request asks the database."""

from __future__ import annotations

import hashlib
import time

from shared.auth.keys import ApiKey, authenticate, refuse_expired
from shared.db.session import Sessions

TRUST_SECONDS = 1.0
"""How long a key is trusted that was just found valid: a revoked one works for as long."""

_MOST = 1000


class KnownKeys:
    """Authenticates clients; safe to share between threads."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._known: dict[bytes, tuple[float, ApiKey]] = {}

    def authenticate(self, text: str) -> ApiKey:
        """See `shared.auth.keys.authenticate`; a key itself is not kept in memory, only a hash."""
        digest = hashlib.sha256(text.encode()).digest()
        asked_at, key = self._known.get(digest, (float("-inf"), None))
        if key is not None and time.monotonic() - asked_at < TRUST_SECONDS:
            refuse_expired(key)
            return key
        asked_at = time.monotonic()
        key = authenticate(self._sessions, text)
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[digest] = (asked_at, key)
        return key
