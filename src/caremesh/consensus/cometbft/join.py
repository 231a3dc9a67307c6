"""A join, as the engine goes through it: what CometBFT is told, whom it asks, and when it is over.

CometBFT gives up a state sync for good in more than one case (every server that it asks has failed once; what it was
offered was refused), and then lives on without doing anything. So it is started again whenever nothing has moved for
``PATIENCE_S``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from caremesh.consensus.cometbft import joining as files_of
from caremesh.consensus.cometbft.facade import Facade
from caremesh.consensus.cometbft.joining import HALF_JOINED, Headers, Joining
from caremesh.consensus.cometbft.snapshot_files import SnapshotFiles
from caremesh.consensus.cometbft.snapshots import Joins, Snapshots
from caremesh.errors import Refused
from caremesh.ledger.machine import Machine
from caremesh.types import Seconds

PATIENCE_S: Final = 180.0
"""CometBFT itself waits two minutes for a chunk before it goes on to another snapshot."""
_LOOK_S: Final = 1.0


class Join:
    """One engine's, from its start to the first block after the snapshot; nothing at all where it does not join."""

    def __init__(
        self,
        home: Path,
        run: Path,
        joining: Joining | None,
        *,
        chain: str,
        clock: Callable[[], Seconds],
        monotonic: Callable[[], float],
    ) -> None:
        """``home``: CometBFT's; ``run``: for sockets. Raises Refused consensus.41, StorageFailed storage.01."""
        if joining is None and files_of.is_under_way(home):
            raise Refused(HALF_JOINED)
        self._joining: Final = joining if joining is not None and files_of.prepare(home) else None
        self._home: Final = home
        self._run: Final = run
        self._chain: Final = chain
        self._clock: Final = clock
        self._monotonic: Final = monotonic
        self._changed: Final = threading.Condition()
        self._open: Final = ExitStack()
        self._closed = False
        self.under_way = self._joining is not None
        """Until the first block after the snapshot."""

    def answers(self, machine: Machine, state: Path, files: SnapshotFiles, joined: Callable[[], None]) -> Snapshots:
        """What the application answers about snapshots. ``joined``: see ``Joins``."""
        if self._joining is None:
            return Snapshots(machine, files)
        return Snapshots(machine, files, Joins(Headers(self._chain, self._joining, self._clock), state, joined))

    def section(self) -> str:
        """The part of CometBFT's config about it."""
        return "" if self._joining is None else files_of.section(self._joining, self._sockets())

    def start(self, again: Callable[[], None], moved: Callable[[], int]) -> None:
        """Let CometBFT ask, and start it ``again`` when what ``moved`` counts stays the same for too long.

        Raises OSError.
        """
        if self._joining is None:
            return
        for path, fetch in zip(self._sockets(), self._joining.sources, strict=True):
            facade = Facade(path, fetch)
            self._open.callback(facade.close)
            facade.start()
        watch = threading.Thread(target=self._watch, args=[again, moved], name="joining", daemon=True)
        self._open.callback(watch.join)
        watch.start()

    def done(self) -> None:
        """A block is durable, so the join is over. Raises StorageFailed storage.01."""
        if self.under_way:
            files_of.finish(self._home)
            with self._changed:
                self.under_way = False
                self._changed.notify_all()

    def close(self) -> None:
        """Let go of sockets and threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._open.close()

    def _sockets(self) -> list[Path]:
        count = 0 if self._joining is None else len(self._joining.sources)
        return [self._run / f"ask{number}.sock" for number in range(count)]

    def _watch(self, again: Callable[[], None], moved: Callable[[], int]) -> None:
        before, since = moved(), self._monotonic()
        while True:
            with self._changed:
                if self._changed.wait_for(lambda: self._closed or not self.under_way, _LOOK_S):
                    return
            now = moved()
            if now != before:
                before, since = now, self._monotonic()
            elif self._monotonic() - since > PATIENCE_S:
                since = self._monotonic()
                again()
