"""CometBFT's part in a model: who proposes, who votes, what is decided, and which blocks reach whom, by a seed.

Four validators with a vote each, over the real application and a real database each. A network that is split in two
decides only where three of four are; a replica may crash at every point of a block, lose its disk, and come back by its
blocks or by a snapshot. Nothing here knows what a transaction does.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Final, NamedTuple

from caremesh.consensus.cometbft.abci_pb2 import (
    Request,
    RequestCheckTx,
    RequestCommit,
    RequestFinalizeBlock,
    RequestInfo,
    RequestPrepareProposal,
    RequestProcessProposal,
    ResponseApplySnapshotChunk,
    ResponseOfferSnapshot,
    ResponseProcessProposal,
    Time,
)
from caremesh.consensus.cometbft.snapshot_files import Snapshotting
from caremesh.ledger.application import Params
from caremesh.ledger.comet import CometHeader
from caremesh.ledger.snapshot import CHUNKS
from caremesh.types import Height, Seconds
from tests.support.comet_chain import Chain, Node

COUNT: Final = 4
NEEDED: Final = 3
_SOME: Final = Snapshotting(every=5, kept=2)
_NONE: Final = Snapshotting(every=0)
_ROOM: Final = 2**20


class Decided(NamedTuple):
    """A block that enough have voted for."""

    header: CometHeader
    txs: list[bytes]


class Replica:
    """A validator's node. ``node`` is None while it is down; ``stored``: how many blocks its CometBFT has."""

    def __init__(self, folder: Path, params: Params, plan: Snapshotting) -> None:
        """``plan``: which snapshots it keeps for others."""
        self.folder = folder
        self.params = params
        self.plan = plan
        self.node: Node | None = Node(folder, plan, params)
        self.stored: Height = 0
        self.pool: list[bytes] = []
        self.skew: Seconds = 0
        self.seen: Seconds = 0
        """When the last block came in."""

    @property
    def height(self) -> Height:
        """Of what its application has committed; -1 while it is down."""
        return -1 if self.node is None else self.node.machine.head.height


class Ordering:
    """The four, the network between them, and time."""

    def __init__(self, folder: Path, dice: random.Random, params: Params, start_s: Seconds) -> None:
        self.dice = dice
        self.now = start_s
        self.chain = Chain()
        self.decided: list[Decided] = []
        self.voted: set[int] = set()
        """Who has the newest of them in its log of votes, whether it has heard that it is decided or not."""
        self.answers: dict[Height, bytes] = {}
        self.apart: frozenset[int] = frozenset()
        self.done: Counter[str] = Counter()
        self.replicas = [Replica(folder / str(at), params, _NONE if at % 2 else _SOME) for at in range(COUNT)]

    def close(self) -> None:
        """Close every database."""
        for replica in self.replicas:
            if replica.node is not None:
                replica.node.close()

    # --- blocks ---------------------------------------------------------------------------------------

    def side(self, number: int) -> list[int]:
        """Who is up and reaches this one, with itself."""
        near = [at for at in range(COUNT) if (at in self.apart) == (number in self.apart)]
        return [at for at in near if self.replicas[at].node is not None]

    def propose(self, bent: list[bytes] | None = None) -> bool:
        """Somebody proposes a block, and who is near votes. ``bent``: what a liar proposes. Whether it was decided."""
        height = len(self.decided)
        ready = [at for at in range(COUNT) if self.replicas[at].height == height]
        if not ready:
            return False
        proposer = self.dice.choice(ready)
        voters = [at for at in self.side(proposer) if self.replicas[at].height == height]
        time = max(self.now, self.chain.headers[-1].time if self.chain.headers else self.now)
        txs = self._prepared(proposer, time) if bent is None else bent
        said = {at: self._votes(at, txs, time) for at in voters}
        assert len(set(said.values())) == 1, f"not judged alike: {said}"
        if bent is None:
            assert all(said.values()), "what one of them has put together the others refuse"
        if not all(said.values()) or len(voters) < NEEDED:
            self.done["rounds without a block"] += 1
            return False
        node = self.replicas[proposer].node
        assert node is not None
        later = time - (self.chain.headers[-1].time if self.chain.headers else time)
        header = self.chain.next(node.machine.head.app_hash, later if self.chain.headers else 1)
        self.decided.append(Decided(header, txs))
        self.voted = set(voters)
        for at in voters:
            if self.dice.random() < 0.8:  # the others hear of it later
                self.replicas[at].stored = len(self.decided)
        if not any(each.stored == len(self.decided) for each in self.replicas):
            self.replicas[proposer].stored = len(self.decided)
        self.done["blocks"] += 1
        return True

    def deliver(self, number: int, crash: str = "") -> None:
        """A replica gets the blocks that somebody near it has, and executes the next. ``crash``: where in it."""
        replica = self.replicas[number]
        if replica.node is None:
            return
        replica.stored = max(self.replicas[at].stored for at in self.side(number))
        if replica.height >= replica.stored:
            return
        header, txs = self.decided[replica.height]
        request = RequestFinalizeBlock(
            txs=txs,
            hash=header.hash(),
            next_validators_hash=header.next_validators,
            height=header.height,
            time=Time(seconds=header.time, nanos=header.nanos),
        )
        if crash == "before":
            self.crash(number)
            return
        answer = replica.node.application.answer(Request(finalize_block=request)).finalize_block
        said = answer.SerializeToString(deterministic=True)
        assert self.answers.setdefault(header.height, said) == said, f"height {header.height} is not one"
        if crash == "executed":
            self.crash(number)
            return
        replica.node.application.answer(Request(commit=RequestCommit()))
        replica.node.settle()
        replica.seen = self.now
        replica.pool = [raw for raw in replica.pool if raw not in txs]
        if crash == "committed":
            self.crash(number)

    def _prepared(self, proposer: int, time: Seconds) -> list[bytes]:
        replica = self.replicas[proposer]
        assert replica.node is not None
        asked = RequestPrepareProposal(txs=replica.pool, max_tx_bytes=_ROOM, time=Time(seconds=time))
        return list(replica.node.application.answer(Request(prepare_proposal=asked)).prepare_proposal.txs)

    def _votes(self, number: int, txs: list[bytes], time: Seconds) -> bool:
        node = self.replicas[number].node
        assert node is not None
        asked = RequestProcessProposal(txs=txs, height=len(self.decided) + 1, time=Time(seconds=time))
        answer = node.application.answer(Request(process_proposal=asked)).process_proposal
        return answer.status == ResponseProcessProposal.ACCEPT

    # --- transactions ---------------------------------------------------------------------------------

    def send(self, number: int, raw: bytes) -> bool:
        """Hand a transaction to a replica; whether it took it, and told those near it."""
        node = self.replicas[number].node
        if node is None:
            return False
        node.clock.now = self.now + self.replicas[number].skew
        if node.application.answer(Request(check_tx=RequestCheckTx(tx=raw))).check_tx.code:
            return False
        for at in self.side(number):
            self.replicas[at].pool.append(raw)
        return True

    # --- faults ---------------------------------------------------------------------------------------

    def crash(self, number: int) -> None:
        """End a replica as power loss would: what is in memory goes, its mempool, too."""
        replica = self.replicas[number]
        if replica.node is not None:
            replica.node.close()
            replica.node, replica.pool = None, []
            self.done["crashes"] += 1

    def restart(self, number: int) -> None:
        """Begin with what the disk has: what Info says is what CometBFT repeats from."""
        replica = self.replicas[number]
        if replica.node is None:
            replica.node = Node(replica.folder, replica.plan, replica.params)
            info = replica.node.application.answer(Request(info=RequestInfo())).info
            assert info.last_block_height == replica.height <= replica.stored
            if replica.height:
                assert self._root(replica.height) in (None, info.last_block_app_hash)
            self.done["restarts"] += 1

    def lose_disk(self, number: int) -> bool:
        """A replica loses all; it joins by a snapshot of somebody near it. Whether there was one."""
        found = [
            (at, snapshot)
            for at in self.side(number)
            if at != number
            for snapshot in self._of(at).listed()
            if snapshot.height + 2 <= len(self.chain.headers)
        ]
        if not found:
            return False
        if not self._others_have_what(number):
            return False
        source, snapshot = self.dice.choice(found)
        self.crash(number)
        replica = self.replicas[number]
        shutil.rmtree(replica.folder)
        late = Node(replica.folder, replica.plan, replica.params, self.chain.joining())
        replica.node, replica.stored = late, 0
        late.clock.now = self.now
        verified = self.chain.headers[snapshot.height].app_hash
        assert late.offer(snapshot, verified) == ResponseOfferSnapshot.ACCEPT
        order = list(range(CHUNKS))
        self.dice.shuffle(order)
        for index in order:
            chunk = self._of(source).chunk(snapshot.height, index)
            if self.dice.random() < 0.02:
                wrong = late.apply(index, chunk + b"\0")
                assert wrong.result == ResponseApplySnapshotChunk.RETRY
            assert late.apply(index, chunk).result == ResponseApplySnapshotChunk.ACCEPT
        assert (replica.height, late.joined) == (snapshot.height, 1)
        replica.stored = replica.height
        self.done["joined by a snapshot"] += 1
        return True

    def _others_have_what(self, number: int) -> bool:
        """Whether a replica's disk may be lost: those who have voted for a block that it alone has stored are locked on
        it, and decide it again. When all of them have lost their disks since, more than a third have.
        """
        self.voted.discard(number)
        replica = self.replicas[number]
        if replica.stored <= max(each.stored for each in self.replicas if each is not replica):
            return True
        for at in sorted(self.voted):
            if self.replicas[at].stored + 1 == replica.stored:
                self.replicas[at].stored = replica.stored
                return True
        return False

    def _of(self, number: int) -> Node:
        node = self.replicas[number].node
        assert node is not None
        return node

    def _root(self, height: Height) -> bytes | None:
        """What the header after a height says of it."""
        return self.chain.headers[height].app_hash if height < len(self.chain.headers) else None
