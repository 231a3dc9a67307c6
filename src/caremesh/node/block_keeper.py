"""What a member that holds blocks does in threads of its own: checks and repairs them, collects, finishes imports.

None of it holds up a request or a block of the ledger. What fails is told once, and tried again.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from caremesh.blobs.checking import RATE_BYTES_S, Check
from caremesh.blobs.holding import Holder
from caremesh.blobs.interface import BlockStore
from caremesh.blobs.mending import MendingBlocks, OtherHolders
from caremesh.blobs.noticed import Notice, Noticed, silently
from caremesh.codec import CID
from caremesh.contracts.network import queries as network
from caremesh.errors import CareMeshError
from caremesh.ledger.state import Reader
from caremesh.node.forgetting import Forgetting
from caremesh.node.logs import Log, about
from caremesh.types import Count, Did

EVERY_S: Final = 60.0
Holders = Callable[[], Mapping[Did, BlockStore]]


class Others(Mapping[Did, BlockStore]):
    """The ways to the blocks of all other members; who they are is asked anew each time."""

    def __init__(self, did: Did, holders: Holders) -> None:
        self._did = did
        self._holders = holders

    def __getitem__(self, did: Did) -> BlockStore:
        if did == self._did:
            raise KeyError(did)
        return self._holders()[did]

    def __iter__(self) -> Iterator[Did]:
        return (did for did in self._holders() if did != self._did)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class BlockKeeper:
    """One member's. ``counts``: what happened to blocks, by kind, for metrics."""

    def __init__(
        self,
        *,
        folder: Path,
        holder: Holder,
        catalogue: Forgetting,
        holders: Holders,
        reader: Callable[[], Reader],
        finish: Callable[[], object],
        log: Log,
        rate_bytes_s: Count = RATE_BYTES_S,
        every_s: float = EVERY_S,
        notice: Notice = silently,
    ) -> None:
        """``folder``: the member's home; ``holders``: all members' blocks, its own with them; ``finish``: imports."""
        self.counts: Final[Counter[str]] = Counter()
        self._holder: Final = holder
        self._finish: Final = finish
        self._log: Final = log
        self._rate_bytes_s: Final = rate_bytes_s
        self._every_s: Final = every_s
        self._notice: Final = notice
        self._ended: Final = threading.Event()
        self._woken: Final = threading.Event()
        self._failing: Final[set[str]] = set()
        self._others: Final = OtherHolders(Others(holder.did, holders), self._noticed)
        own = holder.of(holder.did)
        self.blocks: Final[BlockStore] = MendingBlocks(holder.did, own, self._others, self._noticed)
        """This member's own blocks, made good while they are read."""
        self.check: Final = Check(
            did=holder.did,
            store=own,
            others=self._others,
            catalogue=catalogue,
            holders=lambda: list(holders()),
            replicas=lambda: network.params(reader()).replicas,
            cursor=folder / "check",
            notice=self._noticed,
        )
        self._threads: Final = [
            threading.Thread(target=self._checks, name="blocks", daemon=True),
            threading.Thread(target=self._tidies, name="collect", daemon=True),
        ]

    @property
    def failing(self) -> set[str]:
        """What did not work when it was done last."""
        return self._failing.copy()

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def suspect(self, cid: CID) -> None:
        """Look at a block now, if it is held here: someone asked for it and did not get it. Raises StorageFailed."""
        if self._holder.store.streams_of(cid):
            self.check.suspect(cid)
            self._woken.set()

    def close(self, within_s: float = 5.0) -> None:
        """Finish what is being done, and end."""
        self._ended.set()
        self._woken.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(within_s)

    def tidy(self) -> None:
        """Collect what nobody registered, and register what waits."""
        self._do("collect", self._collect)
        self._do("finish", self._finish)

    def _checks(self) -> None:
        while not self._ended.is_set():
            self._do("check", lambda: self.check.run(self._pauses, self._rate_bytes_s, rest_s=self._every_s))
            self._ended.wait(self._every_s)

    def _pauses(self, seconds: float) -> bool:
        """Wait so long, or until a block is suspected; whether to end."""
        self._woken.wait(seconds)
        self._woken.clear()
        return self._ended.is_set()

    def _tidies(self) -> None:
        while not self._ended.wait(self._every_s):
            self.tidy()

    def _collect(self) -> None:
        gone = self._holder.collect()
        if gone:
            self.counts["collected"] += len(gone)
            self._log.info("blocks collected", count=len(gone))

    def _noticed(self, noticed: Noticed) -> None:
        self.counts[noticed.kind] += 1
        tell = self._log.info if noticed.kind == "repaired" else self._log.warning
        tell(f"block {noticed.kind}", place=noticed.cid.encode(), member=noticed.holder)
        self._notice(noticed)

    def _do(self, duty: str, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - whatever it is, the other duties must go on
            if duty not in self._failing or not isinstance(error, CareMeshError):
                self._log.error("duty failed", path=duty, **about(error))
            self._failing.add(duty)
        else:
            self._failing.discard(duty)
