"""A receiver of OTLP/HTTP on loopback: keeps what was sent, byte by byte, and reads it as the protocol says."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Got(NamedTuple):
    """A span, and the process that sent it. Ids in hex; ``links``: (trace, span) of each."""

    name: str
    kind: int
    trace: str
    id: str
    parent: str
    links: list[tuple[str, str]]
    said: dict[str, Any]
    member: str
    part: str
    fields: set[str]


class Collector:
    """What was received; ``status``: what is answered."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.status = 200
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                assert self.headers["content-type"] == "application/x-protobuf"
                collector.bodies.append(body)
                self.send_response(collector.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1/traces"
        self._thread = threading.Thread(target=self._server.serve_forever, name="collector")

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def spans(self) -> list[Got]:
        """All of them, in no order."""
        found = []
        for body in list(self.bodies):
            for of_process in ExportTraceServiceRequest.FromString(body).resource_spans:
                mine = {each.key: each.value.string_value for each in of_process.resource.attributes}
                for scope in of_process.scope_spans:
                    found += [_read(span, mine) for span in scope.spans]
        return found


def _read(span: Any, mine: dict[str, str]) -> Got:
    said = {each.key: each.value.string_value or each.value.int_value for each in span.attributes}
    return Got(
        name=span.name,
        kind=span.kind,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        said=said,
        member=mine["caremesh.member"],
        part=mine["caremesh.part"],
        fields={field.name for field, _ in span.ListFields()} | set(said) | set(mine),
    )


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector, until the block ends."""
    made = Collector()
    made.start()
    try:
        yield made
    finally:
        made.close()
