"""The sync roles behind the async edge: worker threads, a bounded number at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeVar

from anyio import CapacityLimiter, to_thread

T = TypeVar("T")

THREADS: Final = 64


class Run(Protocol):
    """Calls a function that may block, in a thread of its own."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]:
        """What ``work`` returns or raises."""
        ...


def in_threads(threads: int = THREADS) -> Run:
    """At most so many at a time; who comes later waits for its turn."""
    limiter: list[CapacityLimiter] = []

    async def run(work: Callable[[], T], /) -> T:
        if not limiter:  # it belongs to the event loop of the first call
            limiter.append(CapacityLimiter(threads))
        return await to_thread.run_sync(work, limiter=limiter[0])

    return run
