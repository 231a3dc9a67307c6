"""Traces, as the rooms that ask and answer know them: ports, and what a trace may carry from process to process.

Nothing of OpenTelemetry is here; ``node/traces.py`` brings it, when the settings ask for it. What a span may say is
what a log line may: a route's name, a method, a status, a code, the kind of a caller, the DID of a member; never an
address, a parameter, a stream or a word of a body.

A trace never leaves its member. Between the processes of one node it goes on (``traceparent``); a request to another
member begins a new trace, which names this one request and nothing else, and which only the caller's own spans tie to
what it was asked for. So a custodian that is asked about twelve streams sees twelve traces, and not one
(docs/adr/0100-a-trace-ends-at-a-members-door.md).
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Final, Protocol

TRACEPARENT: Final = "traceparent"
"""The header of W3C Trace Context, level 1."""
PLACES: Final = (
    "/blocks/links", "/blocks", "/custody/v1/destructions", "/custody/v1/erasures", "/custody/v1/fragments",
    "/custody/v1/log", "/custody/v1/own-logs", "/custody/v1/own-seals", "/custody/v1/release-batches",
    "/custody/v1/releases", "/custody/v1/reseals", "/custody/v1/seals", "/directory/v1/queries", "/healthz",
    "/inner/v1/leaf", "/inner/v1/metrics", "/ipfs", "/ledger/v1/blocks", "/ledger/v1/cometbft",
    "/ledger/v1/crossing", "/ledger/v1/entries", "/ledger/v1/events", "/ledger/v1/light-blocks", "/ledger/v1/state",
    "/ledger/v1/status", "/ledger/v1/transactions",
    "/metrics", "/openapi.json", "/readyz", "/wallet/v1/inbox/kept", "/wallet/v1/inboxes", "/wallet/v1/inbox",
    "/wallet/v1/indexes", "/wallet/v1/letters", "/wallet/v1/network", "/wallet/v1/notices", "/wallet/v1/proofs",
    "/wallet/v1/sponsored", "/wallet/v1/transactions",
)  # fmt: skip
"""What a path may be called by: the beginning that is the same for everybody. A longer one stands before its own."""
ELSEWHERE: Final = "/"


class Span(Protocol):
    """Something that is being done."""

    @property
    def traceparent(self) -> str:
        """What whoever is asked next is told; empty when nobody is to know."""
        ...

    def came_to(self, status: int, code: str = "") -> None:
        """How it ended: the status of HTTP, and the code of the error if there was one."""
        ...


class Tracer(Protocol):
    """Makes spans, each of which lasts as long as its context."""

    def asks(self, method: str, path: str, member: str, *, inside: bool) -> AbstractContextManager[Span]:
        """A request to another process. ``inside``: of this very node; else the trace is new. ``member``: its DID."""
        ...

    def answers(self, route: str, caller: str, traceparent: str) -> AbstractContextManager[Span]:
        """A request from another process. ``caller``: its kind; ``traceparent``: what it told, empty if not heard."""
        ...

    def close(self) -> None:
        """Send what was not sent yet, as far as that goes in a few seconds."""
        ...


def place_of(path: str) -> str:
    """What a span may call a path: its beginning as in ``PLACES``, nothing of what follows."""
    for place in PLACES:
        if path == place or path.startswith(f"{place}/"):
            return place
    return ELSEWHERE
