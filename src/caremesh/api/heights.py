"""One waiter for new blocks, however many callers wait: long polls and streams of events."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final, Protocol

from caremesh.api.threads import Run
from caremesh.errors import CareMeshError
from caremesh.types import Height

_TURN_S: Final = 1.0


class Waits(Protocol):
    """What has a height that can be waited for."""

    def wait(self, height: Height, timeout_s: float) -> Height:
        """See ``Engine.wait``."""
        ...


class Heights:
    """The height of a ledger, as far as those who wait are told. Of one event loop."""

    def __init__(self, ledger: Waits, run: Run) -> None:
        self._ledger = ledger
        self._run = run
        self._known: Height = 0
        self._waiting = 0
        self._changed: asyncio.Event | None = None
        self._task: asyncio.Task[None] | None = None

    async def reached(self, height: Height, within_s: float) -> bool:
        """Whether there is a block of this height, at once or in this time."""
        if self._known >= height:
            return True
        self._waiting += 1
        try:
            async with asyncio.timeout(within_s):
                while self._known < height:
                    if self._task is None or self._task.done():
                        self._changed = asyncio.Event()
                        self._task = asyncio.create_task(self._watch())
                    assert self._changed is not None  # noqa: S101 - made with the task
                    await self._changed.wait()
        except TimeoutError:
            return self._known >= height
        finally:
            self._waiting -= 1
        return True

    async def _watch(self) -> None:
        """While anyone waits. A ledger that stops or fails is asked again, a turn later."""
        while self._waiting:
            wanted = self._known + 1
            try:
                found = await self._run(partial(self._ledger.wait, wanted, _TURN_S))
            except CareMeshError as error:
                if error.code != "consensus.06":  # not yet: that has taken its turn
                    await asyncio.sleep(_TURN_S)
                continue
            self._known = max(self._known, found)
            changed, self._changed = self._changed, asyncio.Event()
            assert changed is not None  # noqa: S101 - made with this task
            changed.set()
