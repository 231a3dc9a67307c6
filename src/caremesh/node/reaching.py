"""How a node reaches the other members of its network: over HTTP, each by address and key as the ledger names them.

What is this member's own is not gone out for. Who has another key or address on the ledger is reached there from then
on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from random import SystemRandom
from typing import Final, TypeVar

from caremesh.blobs.interface import BlockStore
from caremesh.blobs.peers import PeerBlocks
from caremesh.client.blocking import Portal, RemoteCustodian, RemoteLedger
from caremesh.client.blocks import BlocksClient, RemoteBlocks
from caremesh.client.custody import CustodyClient
from caremesh.client.directory import RemoteDirectory
from caremesh.client.ledger import LedgerClient
from caremesh.client.node import Node as Way
from caremesh.client.node import Patience, Target
from caremesh.client.signing import Identity
from caremesh.client.wallet import WalletClient
from caremesh.consensus.interface import STOPPED, Committed
from caremesh.contracts.members import queries as members
from caremesh.contracts.members.state import Member
from caremesh.crypto import pins
from caremesh.errors import Unavailable
from caremesh.gateway.directories import DirectoryWay
from caremesh.ledger.blocks import Block
from caremesh.node.errors import NO_ADDRESS
from caremesh.node.follower import BlockSource
from caremesh.node.lagging import Lagging
from caremesh.node.node import Node
from caremesh.node.ways import CustodianWay
from caremesh.types import Did, Multikey, Seconds

RENEW_BEFORE_S: Final[Seconds] = 86_400
_RANDOM: Final = SystemRandom()
_SLACK_S: Final = 10.0
T = TypeVar("T")


class _Way:
    """A connection to a member, and what it was made for."""

    def __init__(self, key: Multikey, address: str, leaf: pins.Leaf, way: Way) -> None:
        self.made_for = (key, address, leaf)
        self.way = way


class Reaching:
    """The connections of one node. Any thread may call; close it."""

    def __init__(self, node: Node) -> None:
        self._node: Final = node
        self._portal: Final = Portal()
        self._lock: Final = threading.Lock()
        self._ways: Final[dict[Did, _Way]] = {}
        self._leaf = node.leaf()
        self._closed = False

    def close(self) -> None:
        """Let go of every connection; who waits is told so. Again does nothing."""
        with self._lock:
            closed, self._closed = self._closed, True
        if not closed:
            self._portal.close()

    def clock(self) -> Seconds:
        """Now, UTC."""
        return self._node.clock()

    @property
    def custodians(self) -> Mapping[Did, CustodianWay]:
        """The active members in that role, this one among them."""
        return Ways(self._custodians, self._custodian)

    def holders(self) -> Mapping[Did, BlockStore]:
        """This member's own blocks first, then those of all others."""
        return Ways(lambda: [self._node.home.did, *(each.did for each in self._others())], self._store)

    def stores(self) -> Sequence[BlockStore]:
        """See ``holders``."""
        return list(self.holders().values())

    def directories(self) -> Mapping[Did, DirectoryWay]:
        """This member's own, and those of all others."""
        return Ways(lambda: [self._node.home.did, *(each.did for each in self._others())], self._directory)

    def submit(self, raw: bytes) -> Committed:
        """Put a transaction into a block, at the operator's node. See ``Engine.submit``; Unavailable client.NN."""
        return self._ledger(self._operator()).submit(raw)

    def submit_many(self, raws: Sequence[bytes]) -> list[Future[Committed]]:
        """See ``Embedded.submit_many``."""
        return self._ledger(self._operator()).submit_many(raws)

    def letter(self, member: Did, sealed: bytes) -> bytes:
        """See ``Carries``."""
        way = WalletClient(self._way(member))
        return self._portal.call(lambda: way.letter(member, sealed))

    def leave(self, relay: Did, channel_key: Multikey, sealed: bytes) -> None:
        """See ``Carries``."""
        way = WalletClient(self._way(relay))
        self._portal.call(lambda: way.leave(channel_key, sealed))

    def sources(self) -> Sequence[BlockSource]:
        """The operator first, then the others in any order."""
        operator = self._operator()
        others = [each.did for each in self._others() if each.did != operator]
        _RANDOM.shuffle(others)
        return [_Source(self._ledger, did) for did in (operator, *others)]

    def _ledger(self, did: Did) -> RemoteLedger:
        return RemoteLedger(self._portal, LedgerClient(self._way(did)), did)

    def _custodian(self, did: Did) -> CustodianWay:
        if did == self._node.home.did:
            return self._node.member.custodian
        return Lagging(RemoteCustodian(self._portal, CustodyClient(self._way(did))))

    def _store(self, did: Did) -> BlockStore:
        if did == self._node.home.did:
            return self._node.member.holder.of(did)
        return PeerBlocks(did, lambda: RemoteBlocks(self._portal, BlocksClient(self._way(did))))

    def _directory(self, did: Did) -> DirectoryWay:
        if did == self._node.home.did:
            return self._node.member.directory
        return RemoteDirectory(self._portal, self._way(did))

    def _custodians(self) -> list[Did]:
        mine = [self._node.home.did] if self._node.member.is_custodian else []
        return mine + [each.did for each in self._others() if "custodian" in each.roles]

    def _others(self) -> list[Member]:
        """The active members that have an address, but for this one."""
        mine, known = self._node.home.did, members.members(self._node.reader())
        return [each for each in known if each.status == "active" and each.endpoints and each.did != mine]

    def _way(self, did: Did) -> Way:
        """The way to a member, by what the ledger says of it now. Raises Unavailable node.22 without an address."""
        member = members.member(self._node.reader(), did)
        if member is None or member.status != "active" or not member.endpoints:
            raise Unavailable(NO_ADDRESS, did)
        with self._lock:
            if self._closed:
                raise Unavailable(STOPPED)
            if self._leaf.until - time.time() < RENEW_BEFORE_S:
                self._leaf = self._node.leaf()
            wanted = (member.keys.node, member.endpoints[0], self._leaf)
            known = self._ways.get(did)
            if known is None or known.made_for != wanted:
                made = _Way(*wanted, self._portal.node(lambda: self._make(did, *wanted)))
                if known is not None:
                    self._portal.drop(known.way)
                self._ways[did] = made
            return self._ways[did].way

    def _make(self, did: Did, key: Multikey, address: str, leaf: pins.Leaf) -> Way:
        home = self._node.home
        return Way(
            Target(did=did, node_key=key, url=address),
            Identity.of_did(home.did, home.node_key),
            leaf=leaf,
            clock=self._node.clock,
            patience=Patience(answer_s=self._node.settings.follow_wait_s + _SLACK_S, tries=2, connections=32),
            tracer=self._node.tracer,
        )

    def _operator(self) -> Did:
        """Who orders blocks: the member whose node key signs them."""
        signers = {each.key for each in self._node.founding.validators}
        for each in members.members(self._node.reader()):
            if each.keys.node in signers:
                return each.did
        raise Unavailable(NO_ADDRESS, "operator")


class _Source:
    """Blocks from one member. The way there is found when it is asked: it may have changed, or not be there."""

    def __init__(self, way: Callable[[Did], RemoteLedger], did: Did) -> None:
        self._way = way
        self.name = did
        self.told = 0

    def blocks(self, start: int, wait_s: float) -> Sequence[Block]:
        """See ``BlockSource``."""
        way = self._way(self.name)
        found = way.blocks(start, wait_s)
        self.told = way.told
        return found


class Ways(Mapping[Did, T]):
    """The ways to members by DID, made when they are asked for; who they are is for the ledger to say."""

    def __init__(self, names: Callable[[], Sequence[Did]], way: Callable[[Did], T]) -> None:
        self._names = names
        self._way = way

    def __getitem__(self, did: Did) -> T:
        if did not in self._names():
            raise KeyError(did)
        return self._way(did)

    def __iter__(self) -> Iterator[Did]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())
