"""The API keys that the gateway acts for; senders by DIMSE and MLLP have none of their own."""

from __future__ import annotations

from dataclasses import dataclass

from shared.auth.hosts import client_address
from shared.auth.keys import ApiKey, Scope, find_key, refuse_ended, refuse_host
from shared.db.session import Sessions
from shared.errors import ForbiddenError, UnauthorizedError


class GatewayKeyError(UnauthorizedError):
    """The gateway's API key is none that may submit."""

    code = "gateway_key_invalid"


@dataclass(frozen=True)
class GatewayKey:
    """A key by its id; `setting` is where the operator named it."""

    sessions: Sessions
    key_id: str
    setting: str

    def now(self) -> ApiKey:
        """The key as it is now, in one read.

        Raises:
            GatewayKeyError: There is none, or it may not submit.
            UnauthorizedError: It was revoked, or has expired.
        """
        key = find_key(self.sessions, self.key_id)
        if key is None or Scope.SUBMIT not in key.scopes:
            raise GatewayKeyError(f"See {self.setting}.")
        refuse_ended(key)
        return key

    def used_from(self, address: str, *, scope: Scope = Scope.SUBMIT) -> ApiKey:
        """The key, where it may be used from an address.

        Raises:
            UnauthorizedError: As of `now`.
            ForbiddenError: It lacks the scope, or may not be used from there.
        """
        key = self.now()
        refuse_host(key, client_address(address, "", ()))
        if scope not in key.scopes:
            raise ForbiddenError(f"This needs the scope {scope}.")
        return key
