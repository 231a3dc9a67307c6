"""What a running member does after blocks, in a thread of its own: lets go of what has ended, anchors its release log.

Blocks do not wait for it: it may ask other members. What fails is tried again at the next block, and told.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from caremesh.errors import CareMeshError
from caremesh.node.logs import Log, about
from caremesh.node.running import Member


class Duties:
    """One member's."""

    def __init__(self, member: Member, anchor_every_s: float, log: Log) -> None:
        """``anchor_every_s``: so often at most the root of the release log goes on the ledger."""
        self._member: Final = member
        self._anchor_every_s: Final = anchor_every_s
        self._log: Final = log
        self._woken: Final = threading.Event()
        self._ending = False
        self._begun = False
        self._anchored = time.monotonic()
        self._failing: set[str] = set()
        self._thread: Final = threading.Thread(target=self._run, name="duties", daemon=True)

    @property
    def failing(self) -> set[str]:
        """What did not work when it was done last."""
        return self._failing.copy()

    def wake(self) -> None:
        """There is a block that was not looked at: begin, or look. Called by one thread."""
        self._woken.set()
        if not self._begun:
            self._begun = True
            self._thread.start()

    def close(self, within_s: float = 5.0) -> None:
        """Finish what is being done, and end."""
        self._ending = True
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(within_s)

    def _run(self) -> None:
        while True:
            self._woken.wait(self._anchor_every_s)
            self._woken.clear()
            if self._ending:
                return
            self._do("follow", self._follow)
            if self._member.is_custodian and time.monotonic() - self._anchored >= self._anchor_every_s:
                self._do("anchor", self._anchor)

    def _follow(self) -> None:
        confirmed = self._member.follow()
        if confirmed:
            self._log.info("let go", count=len(confirmed), height=self._member.ledger.copy.machine.head.height)

    def _anchor(self) -> None:
        self._anchored = time.monotonic()
        report = self._member.report()
        if report is not None:
            done = self._member.ledger.submit(report)
            self._log.info("anchored", height=done.height, code=done.code)

    def _do(self, duty: str, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - whatever it is, the next duty and the next block must go on
            if duty not in self._failing or not isinstance(error, CareMeshError):
                self._log.error("duty failed", place=duty, **{k: v for k, v in about(error).items() if k != "place"})
            self._failing.add(duty)
        else:
            self._failing.discard(duty)
