"""What workitems are called in DICOM: their UIDs and the words for their state and priority."""

from __future__ import annotations

import uuid

from shared.errors import BadRequestError, NotFoundError
from shared.jobs.states import Priority

UPS_PUSH = "1.2.840.10008.5.1.4.34.6.1"
"""The SOP class of every Unified Procedure Step (PS3.4, section CC.3.1; PS3.6, table A-1)."""

_ROOT = "2.25."

PRIORITIES = {Priority.STAT: "HIGH", Priority.URGENT: "MEDIUM", Priority.ROUTINE: "LOW"}
"""Scheduled Procedure Step Priority (PS3.3, C.30.2): HIGH is what is done at once."""

PRIORITY_OF = {said: priority for priority, said in PRIORITIES.items()}
"""The same, read."""


def workitem_uid(of: uuid.UUID) -> str:
    """The UID of an order or a job as a workitem: its UUID as a number (PS3.5, B.2)."""
    return f"{_ROOT}{of.int}"


def workitem_id(uid: str) -> uuid.UUID:
    """The order or job that a UID is of; the reverse of `workitem_uid`.

    Raises:
        NotFoundError: It is no UID of this form, so that no workitem here has it.
    """
    digits = uid.removeprefix(_ROOT)
    # PS3.5, 9.1: no component begins with a zero unless it is one; no workitem has two UIDs.
    if uid.startswith(_ROOT) and digits.isascii() and digits.isdigit() and len(digits) <= 39:
        number = int(digits)
        if str(number) == digits and number < 1 << 128:
            return uuid.UUID(int=number)
    raise NotFoundError(f"UIDs of workitems here are {_ROOT} and a UUID as a number.")


def chosen_id(uid: str) -> uuid.UUID:
    """The id of a workitem that is to be created under a UID.

    Raises:
        BadRequestError: The UID is not of the form that workitems here have.
    """
    try:
        return workitem_id(uid)
    except NotFoundError as error:
        raise BadRequestError(error.detail) from error
