"""How much of everything one caller, and all of them together, may have."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Protocol

from msgspec import Struct

from caremesh.api.errors import TOO_MANY
from caremesh.errors import Refused


class Limits(Struct, frozen=True, kw_only=True):
    """Sizes in bytes, times in seconds; a settings page names each.

    Rates hold for a node, whose workers share them (``shared_rates.py``); the rest for each worker process.
    """

    max_head_bytes: int = 16 * 1024
    """Of a request line with its headers."""
    head_s: float = 10.0
    """From the first byte, or the connection, to the end of the headers."""
    handshake_s: float = 5.0
    body_s: float = 60.0
    """From the end of the headers to the end of the body."""
    send_s: float = 60.0
    """Until a caller takes a piece of its answer."""
    linger_s: float = 2.0
    """How long the rest of a request may come after it was turned away."""
    idle_s: float = 30.0
    """Between two requests on one connection."""
    drain_s: float = 20.0
    """How long what is being answered may go on when the process ends."""
    max_connections: int = 2_000
    max_connections_an_address: int = 200
    max_at_work: int = 200
    """Requests that are being answered at a time; streams of events apart."""
    max_streams: int = 200
    stream_s: float = 300.0
    """How long a stream of events goes on: who resumes it signs anew."""
    per_second: float = 200.0
    """Requests of one member or practitioner, in the long run."""
    burst: int = 1_000
    per_second_address: float = 20.0
    """Requests of one network address, of those that no one on the ledger has signed."""
    burst_address: int = 200
    max_callers: int = 20_000
    """Whose rates are remembered; who was not heard of for the longest time is forgotten first."""


class Bucket(Protocol):
    """How much each caller has asked."""

    def check(self, caller: str) -> None:
        """Raises Refused api.13 when there have been too many requests."""
        ...

    def count(self, caller: str) -> None:
        """Count one request."""
        ...

    def take(self, caller: str, many: int = 1) -> None:
        """Both in one, for so many requests. Raises Refused api.13, and counts nothing then."""
        ...


class Rates:
    """Token buckets: ``burst`` at once, ``per_second`` in the long run. One event loop of one process."""

    def __init__(
        self, per_second: float, burst: int, max_callers: int, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_second: Final = per_second
        self._burst: Final = burst
        self._max_callers: Final = max_callers
        self._monotonic: Final = monotonic
        self._left: Final[OrderedDict[str, tuple[float, float]]] = OrderedDict()

    def check(self, caller: str) -> None:
        """Raises Refused api.13 when there have been too many requests."""
        if self._now(caller)[0] < 1:
            raise Refused(TOO_MANY)

    def count(self, caller: str) -> None:
        """Count one request."""
        left, now = self._now(caller)
        self._put(caller, left - 1, now)

    def take(self, caller: str, many: int = 1) -> None:
        """Both in one. More than the burst at once are let through when nothing of it is used."""
        left, now = self._now(caller)
        if left < min(many, self._burst):
            raise Refused(TOO_MANY)
        self._put(caller, left - many, now)

    def _put(self, caller: str, left: float, now: float) -> None:
        self._left[caller] = max(0.0, left), now
        self._left.move_to_end(caller)
        while len(self._left) > self._max_callers:
            self._left.popitem(last=False)

    def _now(self, caller: str) -> tuple[float, float]:
        now = self._monotonic()
        left, since = self._left.get(caller, (float(self._burst), now))
        return min(self._burst, left + (now - since) * self._per_second), now
