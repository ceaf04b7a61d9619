"""Traces of OpenTelemetry; off, and then nothing of it is imported, unless an endpoint is set.

A span has ids, names, counts and codes in it; never a patient's data, an address as it was asked
for, or the text of an error.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from enum import StrEnum
from typing import ClassVar, Protocol

from shared.telemetry_settings import TelemetrySettings

Attribute = str | int | float | bool


class Kind(StrEnum):
    """What a span is, seen from its process (OpenTelemetry Trace API, SpanKind)."""

    INTERNAL = "internal"
    SERVER = "server"
    CLIENT = "client"
    PRODUCER = "producer"
    CONSUMER = "consumer"


class Span(Protocol):
    """A piece of work that is under way."""

    def rename(self, name: str) -> None:
        """Name it by what became known of it."""

    def note(self, **attributes: Attribute | None) -> None:
        """Add attributes; `__` in a name stands for a dot, and None is left out."""

    def fail(self, code: str) -> None:
        """Mark it as failed, by a code."""


class Tracer(Protocol):
    """See the functions of this module."""

    def span(
        self, name: str, kind: Kind, parent: str | None, links: Sequence[str], begun: int | None
    ) -> AbstractContextManager[Span]:
        """See `span`."""

    def leaf(self, name: str) -> AbstractContextManager[Span]:
        """See `leaf`."""

    def traceparent(self) -> str | None:
        """See `traceparent`."""


class _Silent:
    """The span of a process that traces nothing."""

    def rename(self, name: str) -> None: ...

    def note(self, **attributes: Attribute | None) -> None: ...

    def fail(self, code: str) -> None: ...


class _Process:
    """What this process traces with."""

    tracer: ClassVar[Tracer | None] = None


_OFF: AbstractContextManager[Span] = nullcontext(_Silent())


def configure_tracing(settings: TelemetrySettings, *, service: str) -> None:
    """Have this process trace, if the settings name where to; call it where logs are configured.

    Args:
        settings: The endpoint, and the part of the traces that is kept.
        service: Name of the process, in every trace.
    """
    if settings.otlp_endpoint:
        export = importlib.import_module("shared.telemetry.export")
        _Process.tracer = export.start(settings, service=service)


def is_tracing() -> bool:
    """Whether this process traces."""
    return _Process.tracer is not None


def span(
    name: str,
    *,
    kind: Kind = Kind.INTERNAL,
    parent: str | None = None,
    links: Sequence[str] = (),
    begun: int | None = None,
) -> AbstractContextManager[Span]:
    """Trace the block.

    Args:
        name: One of few; no id is in it.
        kind: What it is.
        parent: A traceparent from elsewhere; None: the span around it, if there is one.
        links: Traceparents of other work that it is a part of.
        begun: When it began, in nanoseconds since the epoch; None: now.
    """
    tracer = _Process.tracer
    return _OFF if tracer is None else tracer.span(name, kind, parent, links, begun)


def leaf(name: str) -> AbstractContextManager[Span]:
    """Trace a call of another server within a span; outside of one, nothing is traced."""
    tracer = _Process.tracer
    return _OFF if tracer is None else tracer.leaf(name)


def traceparent() -> str | None:
    """What work elsewhere is to name as its parent; None where nothing is traced."""
    tracer = _Process.tracer
    return None if tracer is None else tracer.traceparent()


@contextmanager
def traced_by(tracer: Tracer | None) -> Iterator[None]:
    """Trace with another tracer within the block."""
    before, _Process.tracer = _Process.tracer, tracer
    try:
        yield
    finally:
        _Process.tracer = before
