"""Why a request about a workitem is refused: the words that the standard has for it.

The detail of these errors is the text of the `Warning` that the answer must carry (PS3.18, tables
11.6.3-2, 11.7.3-2 and 11.8.3-2).
"""

from __future__ import annotations

from shared.errors import BadRequestError, ConflictError, PermanentError

NOT_CLAIMED = "The target URI did not reference a claimed Workitem."
NOT_UPDATABLE = "The submitted request is inconsistent with the current state of the Workitem."
TRANSACTION_MISSING = "The Transaction UID is missing."
TRANSACTION_INCORRECT = "The Transaction UID is incorrect."
INCONSISTENT = "The submitted request is inconsistent with the state of the UPS Instance."
ALREADY_COMPLETED = "The UPS is already COMPLETED."
NOT_CANCELLING = "Performer chooses not to cancel."
OUT_OF_REACH = "The performer cannot be contacted."


class WorkitemError(PermanentError):
    """The request does not fit the workitem; `detail` has the standard's words for it."""


class WorkitemConflictError(WorkitemError, ConflictError):
    """The state of the workitem does not allow this."""


class WorkitemRequestError(WorkitemError, BadRequestError):
    """The workitem can no longer be changed, or not with this Transaction UID."""
