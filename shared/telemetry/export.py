"""Sends spans to a collector over OTLP/HTTP; imported only by a process that traces.

What is ended waits in a bounded queue, and a thread sends it. Where the collector is away, spans
are dropped and counted, and nobody waits for it.
"""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import requests
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shared.telemetry.tracing import Attribute, Kind, Span
from shared.telemetry_settings import TelemetrySettings

MOST_WAITING = 2048
"""Spans that wait to be sent; beyond them the oldest are dropped."""

SEND_SECONDS = 3.0
"""Longest time that one group of spans is tried to be sent, and that the end of a process waits."""

_PATH = "/v1/traces"  # OTLP/HTTP, section "OTLP/HTTP Request"
_TRACEPARENT = "traceparent"
_GROUP = 512
_PAUSE_MILLISECONDS = 1000
_KINDS = {kind: trace.SpanKind[kind.name] for kind in Kind}

_log = logging.getLogger(__name__)
_w3c = TraceContextTextMapPropagator()


class Tally(SpanProcessor):
    """Counts spans, so that what was not sent is known."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ended = self._sent = self._failed = self._overflown = 0
        self._is_over = False

    @property
    def dropped(self) -> int:
        """Spans that were lost: their group was not sent, or the queue was full.

        Until the end, up to a group of those that the queue had no room for is yet to be counted.
        """
        with self._lock:
            return self._ended - self._sent if self._is_over else self._failed + self._overflown

    def on_end(self, span: ReadableSpan) -> None:
        """Count a span that is to be sent."""
        if span.context is not None and span.context.trace_flags.sampled:
            with self._lock:
                self._ended += 1
                waiting = self._ended - self._sent - self._failed - self._overflown
                # A group that is under way is out of the queue.
                self._overflown += waiting > MOST_WAITING + _GROUP

    def taken(self, spans: int, *, sent: bool) -> None:
        """Count a group that left the queue."""
        with self._lock:
            if sent:
                self._sent += spans
            else:
                self._failed += spans

    def shutdown(self) -> None:
        """Nothing waits any more: what was not sent is lost."""
        self._is_over = True


class CountingExporter(SpanExporter):
    """Sends groups of spans, and tells of an outage once, with how much it has cost at its end."""

    def __init__(self, inner: SpanExporter, tally: Tally) -> None:
        self._inner = inner
        self._tally = tally
        self._is_away = False
        self._is_leaving = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a group, or drop it."""
        sent = False
        # A process that leaves waits for one failure, not for that of every group.
        if not (self._is_leaving and self._is_away):
            sent = self._inner.export(spans) is SpanExportResult.SUCCESS
        self._tally.taken(len(spans), sent=sent)
        if sent == self._is_away:
            self._is_away = not sent
            told = {"dropped_spans": self._tally.dropped}
            if sent:
                _log.warning("the collector of traces is back", extra=told)
            else:
                _log.warning("the collector of traces is away", extra=told)
        return SpanExportResult.SUCCESS if sent else SpanExportResult.FAILURE

    def leave(self) -> None:
        """Lose no more time with a collector that is away."""
        self._is_leaving = True

    def shutdown(self) -> None:
        """Close the connection."""
        self._inner.shutdown()


class Exporting:
    """Makes spans and has them sent; see `shared.telemetry.tracing`."""

    def __init__(self, provider: TracerProvider, exporter: CountingExporter, tally: Tally) -> None:
        self.tally = tally
        self._provider = provider
        self._exporter = exporter
        self._tracer = provider.get_tracer("hemotriage")

    @contextmanager
    def span(
        self, name: str, kind: Kind, parent: str | None, links: Sequence[str], begun: int | None
    ) -> Iterator[Span]:
        """See `shared.telemetry.tracing.span`."""
        running = self._tracer.start_as_current_span(
            name,
            context=None if parent is None else _context_of(parent),
            kind=_KINDS[kind],
            links=[trace.Link(_place_of(link)) for link in links],
            start_time=begun,
            # Either would tell the text of an error, which may hold anything.
            record_exception=False,
            set_status_on_exception=False,
        )
        with running as begun_span, _failing(_Noting(begun_span)) as noting:
            yield noting

    def leaf(self, name: str) -> AbstractContextManager[Span]:
        """See `shared.telemetry.tracing.leaf`."""
        if not trace.get_current_span().is_recording():
            return nullcontext(_Noting(trace.INVALID_SPAN))
        return self._leaf(name)

    def traceparent(self) -> str | None:
        """See `shared.telemetry.tracing.traceparent`."""
        carrier: dict[str, str] = {}
        _w3c.inject(carrier)
        return carrier.get(_TRACEPARENT)

    def close(self) -> None:
        """Send what waits, and stop."""
        self._exporter.leave()
        self._provider.shutdown()

    @contextmanager
    def _leaf(self, name: str) -> Iterator[Span]:
        """It is never the current span: a generator may be left in the middle of one."""
        running = self._tracer.start_span(
            name, kind=trace.SpanKind.CLIENT, record_exception=False, set_status_on_exception=False
        )
        try:
            with _failing(_Noting(running)) as noting:
                yield noting
        finally:
            running.end()


class _Noting:
    """A span of ours around one of OpenTelemetry's."""

    def __init__(self, running: trace.Span) -> None:
        self._running = running

    def rename(self, name: str) -> None:
        self._running.update_name(name)

    def note(self, **attributes: Attribute | None) -> None:
        for name, value in attributes.items():
            if value is not None:
                self._running.set_attribute(name.replace("__", "."), value)

    def fail(self, code: str) -> None:
        self._running.set_attribute("error.type", code)
        self._running.set_status(trace.StatusCode.ERROR)


def start(settings: TelemetrySettings, *, service: str) -> Exporting:
    """Begin to trace; what waits at the end of the process is sent then."""
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    session = requests.Session()
    # Neither a proxy nor a password file that the environment names.
    session.trust_env = False
    endpoint = f"{settings.otlp_endpoint.rstrip('/')}{_PATH}"
    tally = Tally()
    exporter = CountingExporter(
        OTLPSpanExporter(endpoint=endpoint, timeout=SEND_SECONDS, session=session), tally
    )
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(settings.otlp_sample_ratio)),
        resource=Resource({"service.name": service, "service.namespace": "hemotriage"}),
        shutdown_on_exit=False,
    )
    sending = BatchSpanProcessor(
        exporter,
        max_queue_size=MOST_WAITING,
        schedule_delay_millis=_PAUSE_MILLISECONDS,
        max_export_batch_size=_GROUP,
    )
    for processor in (sending, tally):  # the tally is closed after what it counts
        provider.add_span_processor(processor)
    exporting = Exporting(provider, exporter, tally)
    atexit.register(exporting.close)
    return exporting


@contextmanager
def _failing(noting: _Noting) -> Iterator[_Noting]:
    """Mark a span whose block raises; of an error, its type alone is told."""
    try:
        yield noting
    except Exception as error:
        noting.fail(getattr(error, "code", None) or type(error).__name__)
        raise


def _context_of(traceparent: str) -> Context:
    return _w3c.extract({_TRACEPARENT: traceparent}, context=Context())


def _place_of(traceparent: str) -> trace.SpanContext:
    return trace.get_current_span(_context_of(traceparent)).get_span_context()
