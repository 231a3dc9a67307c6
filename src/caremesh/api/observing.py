"""What is told of requests: numbers for Prometheus, one line each for the log. Names of routes, kinds of callers, codes
and times; never an address, a name, a parameter or a word of a body.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector

from caremesh.api.app import Observer, Seen
from caremesh.api.routes import ANYONE, Answer, Call, Route

SHARED: Final = "PROMETHEUS_MULTIPROC_DIR"
"""The variable, read by the Prometheus client when it is imported, that names a folder for all processes of a node: who
asks any of them is told of all.
"""
SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Log(Protocol):
    """A log whose every field has a name: see ``node/logs.py``."""

    def info(self, event: str, /, **fields: Any) -> Any:
        """A line."""
        ...

    def error(self, event: str, /, **fields: Any) -> Any:
        """A line that someone should see."""
        ...


class Metrics:
    """Counts and times of requests, in a registry of one's own or a given one."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """Raises ValueError when the registry has these names already."""
        self.registry: Final = registry or CollectorRegistry()
        self._requests: Final = Counter(
            "caremesh_http_requests", "Requests answered", ["route", "caller", "status"], registry=self.registry
        )
        self._refused: Final = Counter(
            "caremesh_http_refusals", "Requests refused or failed, by code", ["route", "code"], registry=self.registry
        )
        self._seconds: Final = Histogram(
            "caremesh_http_seconds",
            "Time from the first byte of a request to the last of its answer",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )

    def observe(self, seen: Seen) -> None:
        """Count one request."""
        self._requests.labels(seen.route, seen.caller, str(seen.status)).inc()
        if seen.code:
            self._refused.labels(seen.route, seen.code).inc()
        for code in seen.refused:
            self._refused.labels(seen.route, code).inc()
        self._seconds.labels(seen.route).observe(seen.seconds)

    def page(self) -> bytes:
        """All of the registry, as Prometheus reads it; that of all processes that share a folder (``SHARED``)."""
        folder = os.environ.get(SHARED)
        if folder is None:
            return generate_latest(self.registry)
        every = CollectorRegistry()
        MultiProcessCollector(every, path=folder)  # type: ignore[no-untyped-call]
        return generate_latest(every)


def to_log(log: Log) -> Observer:
    """One line a request; of what nobody foresaw, where it was raised."""

    def observe(seen: Seen) -> None:
        fields = {"route": seen.route, "method": seen.method, "status": seen.status, "seconds": round(seen.seconds, 4)}
        if seen.fault is not None:
            log.error("failed", code=seen.code, exc_info=seen.fault, **fields)
        elif seen.code:
            log.info("refused", code=seen.code, **fields)
        else:
            log.info("answered", **fields)

    return observe


def all_of(observers: Sequence[Observer]) -> Observer:
    """Several, each told of every request."""

    def observe(seen: Seen) -> None:
        for each in observers:
            each(seen)

    return observe


async def _no_more() -> bytes:
    return b""


def routes(page: Callable[[], bytes], more: Callable[[], Awaitable[bytes]] = _no_more) -> list[Route]:
    """``/metrics``, for the admin address: whoever can reach it may read it.

    ``page``: see ``Metrics.page``; ``more``: what follows it, in the same form.
    """

    async def metrics(_: Call) -> Answer:
        return Answer(page() + await more(), CONTENT_TYPE_LATEST)

    return [
        Route(
            name="admin.metrics",
            method="GET",
            path="/metrics",
            summary="Metrics of this node, of all its processes (Prometheus)",
            handler=metrics,
            callers=ANYONE,
            answer_media="text/plain",
            answer="Prometheus text format",
        )
    ]
