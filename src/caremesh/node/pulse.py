"""How a part of a node shows that it lives, and how the supervisor hears it.

A process that hangs does not end, so nobody is told. Each part therefore writes a byte now and then to its standard
input, which is one end of a socket pair; the other end is the supervisor's. It writes only while its event loop turns
and a thread of its own gets an answer from what the part is there for.

Silence is counted in looks: a machine that slept, or a supervisor that was stopped, has looked once, however long that
was, and kills nobody for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from caremesh.api.health import holds
from caremesh.api.threads import in_threads
from caremesh.node.logs import Log
from caremesh.types import Count

BEATS_A_SILENCE: Final = 8
LOOKS_A_SILENCE: Final = 4
_STDIN: Final = 0
_DOT: Final = b"."
T = TypeVar("T")


async def beating(
    work: Coroutine[Any, Any, T],
    silent_s: float,
    log: Log,
    well: Callable[[], bool] = lambda: True,
    end: Callable[[], None] = lambda: os.kill(os.getpid(), signal.SIGTERM),
) -> T:
    """What ``work`` comes to; while it runs, the supervisor hears of this process.

    ``silent_s``: when it would be given up. ``well``: asked in a thread before each beat; when it hangs there is no
    beat, and when it is False this process cannot go on as it is: ``end`` is called once, to begin anew.
    """
    heart = asyncio.create_task(_beat(silent_s / BEATS_A_SILENCE, well, end, log))
    try:
        return await work
    finally:
        heart.cancel()


async def _beat(every_s: float, well: Callable[[], bool], end: Callable[[], None], log: Log) -> None:
    run = in_threads(1)
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(_STDIN)) as ear:  # not a socket: nobody listens
        while True:
            if not await run(lambda: holds(well)):
                log.error("cannot go on as it is")
                end()
                return  # and when it hangs while it ends, it is killed
            with contextlib.suppress(BlockingIOError):  # the supervisor has not looked for long: enough lies there
                ear.send(_DOT, socket.MSG_DONTWAIT)
            await asyncio.sleep(every_s)


class Ear:
    """The supervisor's end for one process."""

    def __init__(self) -> None:
        self._mine, self.theirs = socket.socketpair()
        self._mine.settimeout(0)
        self._begun = False
        self._silent_s = 0.0

    def close(self) -> None:
        """The process notices, when it is still there."""
        self._mine.close()
        self.theirs.close()

    def listen(self, since_s: float, silent_s: float, begin_s: float) -> bool:
        """Look once. Whether it has said nothing for longer than ``silent_s``, before its first word ``begin_s``.

        ``since_s``: since the last look; it counts for two looks at most.
        """
        heard = self._drain()
        self._begun = self._begun or bool(heard)
        limit = silent_s if self._begun else begin_s
        self._silent_s = 0.0 if heard else self._silent_s + min(since_s, 2 * silent_s / LOOKS_A_SILENCE)
        return self._silent_s > limit

    def _drain(self) -> Count:
        count = 0
        with contextlib.suppress(OSError):
            while more := self._mine.recv(4_096):
                count += len(more)
        return count
