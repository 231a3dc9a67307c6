"""A member that does not order blocks follows whoever does: asks for the next ones, executes them, asks again.

It believes nobody: a block counts when the replica has executed it (``consensus/replica.py``). A source that does not
answer, or answers what does not follow, is left for the next one, after a wait that doubles. It goes on by itself when
a source is back; until then the copy gets older, and custodians refuse by it (``custodian/checks.py``).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from random import SystemRandom
from typing import Final, NamedTuple, Protocol

from caremesh.consensus.interface import NOT_YET, STOPPED
from caremesh.consensus.replica import Replica
from caremesh.errors import CareMeshError, Unavailable
from caremesh.ledger.blocks import Block
from caremesh.node.errors import NO_SOURCE
from caremesh.node.logs import Log, about
from caremesh.types import Height

_RANDOM: Final = SystemRandom()


class BlockSource(Protocol):
    """Where blocks are to be had: the operator's node, or another that follows it."""

    name: str
    told: Height
    """The newest height that it has, as it said with its last answer; 0 when it did not."""

    def blocks(self, start: Height, wait_s: float) -> Sequence[Block]:
        """Some blocks from ``start`` on, as soon as there is one; none after ``wait_s``. Raises CareMeshError."""
        ...


class Pace(NamedTuple):
    """In seconds; see ``settings.py``."""

    wait_s: float
    retry_first_s: float
    retry_most_s: float


class Follower:
    """Keeps one replica up to date, in a thread of its own."""

    def __init__(
        self,
        replica: Replica,
        sources: Callable[[], Sequence[BlockSource]],
        pace: Pace,
        log: Log,
        on_block: Callable[[Height], None] = lambda _: None,
    ) -> None:
        """``sources``: the best first; asked anew after each failure. ``on_block``: after each; it does not raise."""
        self._replica: Final = replica
        self._sources: Final = sources
        self._pace: Final = pace
        self._log: Final = log
        self._on_block: Final = on_block
        self._changed: Final = threading.Condition()
        self._ending: Final = threading.Event()
        self._thread: Final = threading.Thread(target=self._run, name="follower", daemon=True)
        self.told: Height = 0
        """The newest height that a source has told of."""
        self.trouble: CareMeshError | None = None
        """What the last question came to, None when it was answered."""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def end(self) -> None:
        """Ask no more; who waits for a height is told so. A question that was asked is answered yet."""
        self._ending.set()
        with self._changed:
            self._changed.notify_all()

    def close(self, within_s: float = 5.0) -> None:
        """End, and wait for what is being executed."""
        self.end()
        if self._thread.is_alive():
            self._thread.join(within_s)

    def wait(self, height: Height, timeout_s: float) -> Height:
        """The height of the copy, once it is at least ``height``. Raises Unavailable consensus.06, consensus.01."""
        with self._changed:
            self._changed.wait_for(lambda: self._replica.height() >= height or self._ending.is_set(), timeout_s)
        if self._replica.height() >= height:
            return self._replica.height()
        raise Unavailable(STOPPED if self._ending.is_set() else NOT_YET)

    def _run(self) -> None:
        failures = 0
        while not self._ending.is_set():
            try:
                self._ask(failures)
            except CareMeshError as error:
                failures += 1
                self._failed(error, failures)
            except Exception as error:  # noqa: BLE001 - a fault of ours: told, and tried again
                failures += 1
                self._failed(Unavailable(NO_SOURCE, type(error).__name__), failures, error)
            else:
                if self.trouble is not None:
                    self._log.info("following again", height=self._replica.height())
                failures, self.trouble = 0, None

    def _ask(self, failures: int) -> None:
        sources = self._sources()
        if not sources:
            raise Unavailable(NO_SOURCE)
        source = sources[failures % len(sources)]
        found = source.blocks(self._replica.height() + 1, self._pace.wait_s)
        self.told = source.told
        for block in found:
            if self._ending.is_set():
                return
            self._replica.apply(block)
            self._on_block(self._replica.height())
            with self._changed:
                self._changed.notify_all()

    def _failed(self, error: CareMeshError, failures: int, cause: Exception | None = None) -> None:
        if self._ending.is_set():
            return
        if self.trouble is None or self.trouble.code != error.code:
            self._log.warning("not following", height=self._replica.height(), **about(cause or error))
        self.trouble = error
        longest = min(self._pace.retry_first_s * 2 ** min(failures - 1, 20), self._pace.retry_most_s)
        self._ending.wait(_RANDOM.uniform(longest / 2, longest))
