"""What a call to the service can end with, besides the errors of `httpx`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.errors import HemotriageError, TransientError


class RefusedError(HemotriageError):
    """The service refused the request."""

    def __init__(
        self, problem: Mapping[str, Any], *, status: int, request_id: str | None = None
    ) -> None:
        """Take over what the service says.

        Args:
            problem: The members of a problem document (RFC 9457, section 3.1).
            status: The HTTP status of the answer.
            request_id: `X-Request-Id` of the answer, which the service's log and audit trail have.
        """
        title, detail = str(problem.get("title", "")), problem.get("detail")
        super().__init__(f"{title} {detail or ''}".strip())
        self.code = str(problem.get("code", HemotriageError.code))
        self.title, self.detail = title, detail
        self.status, self.request_id = status, request_id


class UnreadableAnswerError(HemotriageError):
    """The answer is not what this service answers; is the address that of a hemotriage?"""

    code = "answer_unreadable"


class NotFinishedError(TransientError):
    """It did not end in time; it goes on, and can be asked for later."""

    code = "not_finished"
