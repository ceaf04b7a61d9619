"""A collector of traces: a real HTTP server that takes OTLP as a collector does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from shared.telemetry.export import Exporting, start
from shared.telemetry.tracing import traced_by
from shared.telemetry_settings import TelemetrySettings


@dataclass(frozen=True)
class SpanSent:
    """A span as it arrived; ids in hexadecimal, an empty parent for none."""

    service: str
    name: str
    trace_id: str
    id: str
    parent: str
    links: tuple[str, ...]
    attributes: dict[str, object]
    failed: bool
    nanoseconds: int


class Collector:
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.spans: list[SpanSent] = []
        self.bodies: list[bytes] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def named(self, name: str) -> list[SpanSent]:
        return [span for span in list(self.spans) if span.name == name]

    def one(self, name: str, service: str | None = None) -> SpanSent:
        (span,) = [each for each in self.named(name) if service in (None, each.service)]
        return span

    def close(self) -> None:
        """Go away; once is enough."""
        if not self._thread.is_alive():
            return
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(collector) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                is_right = self.path == "/v1/traces"
                self.send_response(200 if is_right else 404)
                self.end_headers()
                if is_right:
                    collector.bodies.append(body)
                    collector.spans += _spans(body)

            def log_message(self, *_: object) -> None: ...

        return Handler


def _spans(body: bytes) -> Iterator[SpanSent]:
    request = ExportTraceServiceRequest.FromString(body)
    for of_process in request.resource_spans:
        about = {each.key: each.value.string_value for each in of_process.resource.attributes}
        for scope in of_process.scope_spans:
            for span in scope.spans:
                yield SpanSent(
                    service=about["service.name"],
                    name=span.name,
                    trace_id=span.trace_id.hex(),
                    id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    links=tuple(link.span_id.hex() for link in span.links),
                    attributes={
                        each.key: getattr(each.value, each.value.WhichOneof("value"))
                        for each in span.attributes
                    },
                    failed=span.status.code == span.status.STATUS_CODE_ERROR,
                    nanoseconds=span.end_time_unix_nano - span.start_time_unix_nano,
                )


@contextmanager
def collecting() -> Iterator[Collector]:
    collector = Collector()
    try:
        yield collector
    finally:
        collector.close()


@contextmanager
def tracing_to(endpoint: str, *, ratio: float = 1.0) -> Iterator[Exporting]:
    """Have this process trace; what it traced has been sent at the end of the block."""
    settings = TelemetrySettings(otlp_endpoint=endpoint, otlp_sample_ratio=ratio)
    exporting = start(settings, service="tests")
    try:
        with traced_by(exporting):
            yield exporting
    finally:
        exporting.close()
