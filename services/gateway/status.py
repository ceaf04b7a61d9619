"""What is said of a request that was not done.

Sources of the statuses of DIMSE: PS3.7 annex C, PS3.4 tables B.2-1 and K.4-2.
"""

from __future__ import annotations

import logging
import traceback

from shared.errors import ForbiddenError, HemotriageError, UnauthorizedError
from shared.interop.dicom.stow import OUT_OF_RESOURCES, failure_reason
from shared.outage import is_outage

_log = logging.getLogger(__name__)

SUCCESS = 0x0000
NOT_AUTHORISED = 0x0124  # PS3.7, annex C.5.9
CANNOT_PROCESS = 0xC000
CANCELLED = 0xFE00
PENDING = 0xFF00
PENDING_WITHOUT_SOME_KEYS = 0xFF01


def refused(error: Exception) -> int:
    """The status of a request that was not done, which goes into the log."""
    status, code = _status(error), type(error).__name__
    if isinstance(error, HemotriageError):
        code = error.code
    elif status == CANNOT_PROCESS:
        log_unforeseen(error)
    _log.warning("request refused", extra={"code": code, "status": f"{status:04X}"})
    return status


def log_unforeseen(error: Exception) -> None:
    """Log where an error was raised, and not what it says: that may quote a patient's data."""
    frames = traceback.format_tb(error.__traceback__)
    _log.error("request failed", extra={"error": type(error).__name__, "frames": frames})


def _status(error: Exception) -> int:
    if isinstance(error, (UnauthorizedError, ForbiddenError)):
        return NOT_AUTHORISED
    if isinstance(error, HemotriageError):
        return failure_reason(error)
    if is_outage(error) or isinstance(error, OSError):
        return OUT_OF_RESOURCES
    return CANNOT_PROCESS
