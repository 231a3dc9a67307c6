"""Traces by OpenTelemetry, sent over OTLP/HTTP, where the setting ``traces_endpoint`` asks for them.

Without it nothing is made and nothing is imported. What a span may say, and how far a trace goes: see
``client/tracing.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from caremesh import __version__
from caremesh.client.tracing import TRACEPARENT, Span, Tracer, place_of
from caremesh.errors import BadInput, CareMeshError
from caremesh.node.errors import NO_TRACES
from caremesh.settings import Settings
from caremesh.types import Did

EXTRA: Final = "caremesh[otel]"
_SEND_S: Final = 3.0
"""How long a collector may take; what it did not take then is lost, and nobody waits for it."""


def begin(settings: Settings, part: str, member: Did) -> Tracer | None:
    """The tracer of a process; None when there is none to be. Raises BadInput node.29 without the packages for it."""
    if not settings.traces_endpoint:
        return None
    try:
        return _Telemetry(settings, part, member)
    except ImportError as error:
        raise BadInput(NO_TRACES, EXTRA) from error


class _Open:
    """A span under way."""

    def __init__(self, span: Any, traceparent: str) -> None:
        self._span: Final = span
        self.traceparent: Final = traceparent

    def came_to(self, status: int, code: str = "") -> None:
        """See ``Span``."""
        self._span.set_attribute("http.response.status_code", status)
        if code:
            self._span.set_attribute("caremesh.code", code)


class _Telemetry:
    def __init__(self, settings: Settings, part: str, member: Did) -> None:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http import Compression
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        from requests import Session

        self._trace: Final = trace
        self._spelling: Final = TraceContextTextMapPropagator()
        session = Session()
        session.trust_env = False  # no proxy and no password file of whoever started the process
        exporter = OTLPSpanExporter(
            endpoint=settings.traces_endpoint,
            headers={"user-agent": "caremesh"},
            timeout=_SEND_S,
            compression=Compression.NoCompression,
            session=session,
        )
        said = {"service.name": "caremesh", "service.version": __version__}
        mine = {"caremesh.part": part, "caremesh.member": member}
        self._provider: Final = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(settings.traces_share)),
            resource=Resource({**said, **mine}),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer: Final = self._provider.get_tracer("caremesh", __version__)

    def close(self) -> None:
        """See ``Tracer``."""
        self._provider.shutdown()

    @contextmanager
    def asks(self, method: str, path: str, member: Did, *, inside: bool) -> Iterator[Span]:
        """See ``Tracer``."""
        trace, place = self._trace, place_of(path)
        links, above = [], None
        if not inside:
            asked_for = trace.get_current_span().get_span_context()
            links = [trace.Link(asked_for)] if asked_for.is_valid and asked_for.trace_flags.sampled else []
            above = trace.set_span_in_context(trace.INVALID_SPAN)
        said = {"http.request.method": method, "http.route": place, "caremesh.peer": member}
        with self._spanning(f"{method} {place}", trace.SpanKind.CLIENT, said, above, links) as span:
            yield span

    @contextmanager
    def answers(self, route: str, caller: str, traceparent: str) -> Iterator[Span]:
        """See ``Tracer``."""
        trace = self._trace
        above = trace.set_span_in_context(trace.INVALID_SPAN)
        if traceparent:
            above = self._spelling.extract({TRACEPARENT: traceparent}, above)
        said = {"http.route": route, "caremesh.caller": caller}
        with self._spanning(route, trace.SpanKind.SERVER, said, above, []) as span:
            yield span

    @contextmanager
    def _spanning(self, name: str, kind: Any, said: dict[str, str], above: Any, links: list[Any]) -> Iterator[Span]:
        with self._tracer.start_as_current_span(
            name,
            above,
            kind=kind,
            attributes=said,
            links=links,
            record_exception=False,  # what an exception says may hold anything
            set_status_on_exception=False,
        ) as span:
            carrier: dict[str, str] = {}
            self._spelling.inject(carrier)
            opened = _Open(span, carrier.get(TRACEPARENT, ""))
            try:
                yield opened
            except Exception as error:
                span.set_attribute("caremesh.code", error.code if isinstance(error, CareMeshError) else "fault")
                span.set_status(self._trace.StatusCode.ERROR)
                raise
