"""A member as a holder of blocks for others: quotas, giving up, and collecting what nobody registers.

Blocks are held per (stream, CID). What was brought and is not named by the ledger after a while, since its import never
came to an end, is collected; what the ledger names never is. An erased or resealed segment's blocks go when the ledger
says so (``node/forgetting.py``), through the same door.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from caremesh.blobs.accounts import Accounts, Bringing, Place
from caremesh.blobs.errors import NAMED, NOT_YOURS
from caremesh.blobs.interface import TOO_LARGE, BlockStore, CheckedBlocks
from caremesh.blobs.named import named
from caremesh.blobs.together import Together
from caremesh.codec import CID
from caremesh.contracts.network import queries as network
from caremesh.errors import BadInput, CareMeshError, Refused
from caremesh.ledger.blocks import Header
from caremesh.ledger.state import Reader
from caremesh.sealing.descriptor import MAX_BLOCK_BYTES
from caremesh.types import Count, Did, Seconds, StreamId

QUOTA_BYTES: Final[Count] = 100 * 2**30
"""What each other member may keep here unless its quota says otherwise."""


def wallets(did: Did) -> str:
    """Under which name counts what wallets bring to a member by its links."""
    return f"{did}#wallets"


class OwnCopy(Protocol):
    """The member's copy of the ledger."""

    def header(self) -> Header:
        """The newest header."""
        ...

    def reader(self) -> Reader:
        """Committed state."""
        ...


class _Put(NamedTuple):
    """What one member brings at one time."""

    brought: Bringing
    held: Mapping[StreamId, CheckedBlocks]


class Holder:
    """One member's blocks: its own and those of others, in one store."""

    def __init__(
        self,
        *,
        did: Did,
        store: BlockStore,
        accounts: Accounts,
        ledger: OwnCopy,
        clock: Callable[[], Seconds],
        quota_bytes: Count = QUOTA_BYTES,
        quotas: Mapping[Did, Count] | None = None,
    ) -> None:
        """``quotas``: of members for which ``quota_bytes`` is not the right one, and of ``wallets``.

        Its own blocks have no quota.
        """
        self.did = did
        self.store = store
        self.accounts = accounts
        self._ledger = ledger
        self._clock = clock
        self._quota_bytes = quota_bytes
        self._quotas = {**(quotas or {}), did: 2**62}
        self._lock = threading.Lock()  # between finding that nobody needs a block and dropping it, nobody may bring it
        self._puts: Together[_Put, list[Place]] = Together(self._lock, self._put_all)

    def of(self, member: Did) -> HeldFor:
        """The store as a member may use it; this member's own for ``did``."""
        return HeldFor(self, member)

    def put_many(self, member: Did, held: Mapping[StreamId, Mapping[CID, bytes]]) -> list[Place]:
        """Hold blocks that a member brings, all or on an error none. Returns those that were not here before.

        Those who come while others' blocks are being synced are synced together after that; each is answered when its
        own blocks are durable, and gets its own error.

        Raises Tampered blobs.01, BadInput blobs.03, Refused blobs.05, StorageFailed.
        """
        sizes: dict[Place, Count] = {}
        for stream, blocks in held.items():
            for cid, data in blocks.items():
                if len(data) > MAX_BLOCK_BYTES:
                    raise BadInput(TOO_LARGE, cid.encode())
                sizes[stream, cid] = len(data)
        checked = {stream: CheckedBlocks(blocks) for stream, blocks in held.items()}  # here, where nobody waits for it
        quota_bytes = self._quotas.get(member, self._quota_bytes)
        return self._puts.do(_Put(Bringing(member, sizes, quota_bytes), checked))

    def drop(self, stream: StreamId, cid: CID) -> None:
        """Let go of a block, whatever the ledger says: for what is erased. Raises StorageFailed."""
        with self._lock:
            self._drop(stream, cid)

    def give_up(self, member: Did, stream: StreamId, cid: CID) -> None:
        """Let go of a block that a member brought and does not need; one that is not held is no error.

        Raises Refused blobs.06, blobs.07; StorageFailed.
        """
        with self._lock:
            account = self.accounts.of((stream, cid))
            if account is None:
                return
            if account.member != member:
                raise Refused(NOT_YOURS, cid.encode())
            needed = named(self._ledger.reader(), stream, self.store.get)
            if needed is None or cid in needed:
                raise Refused(NAMED, cid.encode())
            self._drop(stream, cid)

    def collect(self) -> list[Place]:
        """Let go of what was brought ``params.deposit_ttl_s`` ago or earlier and is not named by the ledger.

        "Ago" is as seen by this copy of the ledger: one that is behind would not know what was registered since. Of a
        stream of which a named descriptor cannot be read nothing goes. Returns what went. Raises StorageFailed.
        """
        until, reader = self._ledger.header().time, self._ledger.reader()
        until = min(until, self._clock()) - network.params(reader).deposit_ttl_s
        gone: list[Place] = []
        for stream, cids in self.accounts.unsettled(until).items():
            needed = named(reader, stream, self.store.get)
            if needed is None:
                continue
            self.accounts.settle([(stream, cid) for cid in cids if cid in needed])
            left = [cid for cid in cids if cid not in needed]
            gone += [(stream, cid) for cid in left if self._drop_if_old(stream, cid, until)]
        return gone

    def _put_all(self, puts: Sequence[_Put]) -> list[list[Place] | CareMeshError]:
        """All at once. When the store does not take that, one after the other, to tell who it is that it fails for."""
        entered = self.accounts.enter_all([put.brought for put in puts], self._clock())
        taken = [put.held for put, added in zip(puts, entered, strict=True) if not isinstance(added, Refused)]
        try:
            if taken:
                self.store.put_many(_merged(taken))
        except BaseException as error:
            self.accounts.leave([place for added in entered if not isinstance(added, Refused) for place in added])
            if not isinstance(error, CareMeshError):
                raise
            return [error] if len(puts) == 1 else [self._put_all([put])[0] for put in puts]
        return list(entered)

    def _drop_if_old(self, stream: StreamId, cid: CID, until: Seconds) -> bool:
        """Someone may have brought it again since it was looked at."""
        with self._lock:
            account = self.accounts.of((stream, cid))
            if account is None or account.since > until:
                return False
            self._drop(stream, cid)
            return True

    def _drop(self, stream: StreamId, cid: CID) -> None:
        self.store.delete(stream, cid)
        self.accounts.leave([(stream, cid)])


def _merged(every: Sequence[Mapping[StreamId, CheckedBlocks]]) -> Mapping[StreamId, CheckedBlocks]:
    found: dict[StreamId, list[CheckedBlocks]] = {}
    for held in every:
        for stream, blocks in held.items():
            found.setdefault(stream, []).append(blocks)
    return {stream: CheckedBlocks(*blocks) for stream, blocks in found.items()}


class HeldFor:
    """A ``BlockStore``: what one member may do with the blocks of a holder.

    The holder itself lets go of what it likes; others of what they brought and the ledger does not name.
    """

    def __init__(self, holder: Holder, member: Did) -> None:
        self._holder = holder
        self._member = member

    def put(self, stream: bytes, cid: CID, data: bytes) -> None:
        """See ``BlockStore``. Raises as ``Holder.put_many``."""
        self._holder.put_many(self._member, {stream: {cid: data}})

    def put_all(self, stream: bytes, blocks: Mapping[CID, bytes]) -> None:
        """See ``BlockStore``. Raises as ``Holder.put_many``."""
        self._holder.put_many(self._member, {stream: blocks})

    def put_many(self, held: Mapping[bytes, Mapping[CID, bytes]]) -> None:
        """See ``BlockStore``. Raises as ``Holder.put_many``."""
        self._holder.put_many(self._member, held)

    def get(self, cid: CID) -> bytes:
        """See ``BlockStore``."""
        return self._holder.store.get(cid)

    def has(self, cid: CID) -> bool:
        """See ``BlockStore``."""
        return self._holder.store.has(cid)

    def delete(self, stream: bytes, cid: CID) -> None:
        """See ``BlockStore``. For others than the holder: raises as ``Holder.give_up``."""
        if self._member == self._holder.did:
            self._holder.drop(stream, cid)
        else:
            self._holder.give_up(self._member, stream, cid)

    def streams_of(self, cid: CID) -> list[bytes]:
        """See ``BlockStore``."""
        return self._holder.store.streams_of(cid)

    def names(self, after: CID | None, limit: int) -> list[CID]:
        """See ``BlockStore``."""
        return self._holder.store.names(after, limit)
