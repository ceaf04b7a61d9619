"""What the running work is about: ids that every line of the log carries.

They belong to a thread, a greenlet or a task, as each of these has a context of its own.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import MappingProxyType

REQUEST_ID = "X-Request-Id"
"""The header that names a call, in its request and in its answer."""

_WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{1,64}")
_NOTHING: Mapping[str, str] = MappingProxyType({})
_about: ContextVar[Mapping[str, str]] = ContextVar("about", default=_NOTHING)


@dataclass(frozen=True)
class Origin:
    """The request that a job came with; what is not known of it is None.

    `traceparent` is as in W3C Trace Context, section 3.2.
    """

    request_id: str | None = None
    traceparent: str | None = None


UNKNOWN = Origin()
"""Of a job that came before requests were remembered."""


@contextmanager
def about(**ids: str | None) -> Iterator[None]:
    """Have every line that is logged within the block carry these ids besides those around it."""
    before = _about.get()
    _about.set({**before, **{name: value for name, value in ids.items() if value is not None}})
    try:
        yield
    finally:
        _about.set(before)


def ids_of(job_id: uuid.UUID, origin: Origin) -> dict[str, str | None]:
    """The ids of a job."""
    return {"job_id": str(job_id), "request_id": origin.request_id}


def noted() -> Mapping[str, str]:
    """The ids of the running work."""
    return _about.get()


def request_id_of(sent: str) -> str:
    """The id that a client sent with its request, or a new one where it sent none of use."""
    return sent if _WELL_FORMED.fullmatch(sent) else new_request_id()


def new_request_id() -> str:
    """A request id for what came without one."""
    return uuid.uuid4().hex
