"""One member of a network on a machine of its own: home, copy of the ledger, roles, duties. The ledger process runs it.

Who orders blocks is in ``ordering.py``; each node executes every block itself. How others are reached is brought by
whoever makes the node, as ``Connections``.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final, Protocol

from caremesh.api.ledger import Cometbft
from caremesh.blobs.noticed import Noticed
from caremesh.codec import CID
from caremesh.consensus.embedded import Embedded
from caremesh.consensus.interface import Committed, Status
from caremesh.consensus.replica import Replica
from caremesh.contracts.members import queries as members
from caremesh.crypto.keys import SigningKey
from caremesh.crypto.pins import Leaf, make_leaf
from caremesh.custodian.checks import check_fresh
from caremesh.errors import BadInput, CareMeshError, Refused, Tampered, Unavailable
from caremesh.ledger.application import Event
from caremesh.ledger.blocks import Block
from caremesh.ledger.inclusion import Entries, Inclusion
from caremesh.ledger.light import Answer, Crossing, LightBlock
from caremesh.ledger.state import Reader
from caremesh.node import crossing, founding, joining, ordering, restored, traces
from caremesh.node.block_keeper import BlockKeeper
from caremesh.node.block_stores import open_blocks
from caremesh.node.duties import Duties
from caremesh.node.errors import NO_ADDRESS, NOT_JOINED
from caremesh.node.follower import BlockSource, Follower, Pace
from caremesh.node.founding import Clock
from caremesh.node.logs import Log, about
from caremesh.node.member import MemberHome
from caremesh.node.mesh import hold
from caremesh.node.relay import MemberLedger, Orders
from caremesh.node.running import LEDGER, Member
from caremesh.node.serving_wallets import Carries
from caremesh.node.ways import Ways
from caremesh.settings import Settings
from caremesh.types import Height

ARRIVES_WITHIN_S: Final = 15.0
"""How long a transaction that is in a block may take to arrive on this node's own copy."""


SIGNED_WITHIN_S: Final = 30.0
"""How long the next block is waited for, when a validator's key has changed."""


class Connections(Ways, Orders, Carries, Protocol):
    """The ways to others, to whoever orders blocks, to their blocks, and for what is sealed to them."""

    def sources(self) -> Sequence[BlockSource]:
        """Where blocks come from, the operator first."""
        ...

    def close(self) -> None:
        """Let go of every connection."""
        ...


Connect = Callable[["Node"], Connections]


class Node:
    """A running node. Any thread may call; close it."""

    def __init__(
        self, folder: Path, settings: Settings, connect: Connect, log: Log, clock: Clock | None = None
    ) -> None:
        """Open the home in ``folder`` and begin.

        Raises Refused node.03 (in use), node.13, node.14; Tampered, WrongLedger, StorageFailed.
        """
        self.settings: Final = settings
        self.clock: Final[Clock] = clock or (lambda: int(time.time()))
        self.log: Final = log
        self.folder: Final = folder
        self.damaged: set[CID] = set()
        """Blocks of this member that were found damaged when they were asked for."""
        with ExitStack() as opened:
            opened.enter_context(hold(folder))
            known = founding.load(folder)
            if known is None:
                raise Refused(NOT_JOINED, folder.name)
            self.founding: Final = crossing.taken(folder, folder / LEDGER, known)
            self.home: Final[MemberHome] = joining.load_home(folder)
            if settings.blocks_s3_endpoint:
                self.home.blocks = open_blocks(folder, settings)
            self.copy: Final = ordering.open_copy(self.founding, self.home, settings, self.clock, log, opened)
            opened.callback(self.copy.close)
            self.tracer: Final = traces.begin(settings, "ledger", self.home.did)
            if self.tracer is not None:
                opened.callback(self.tracer.close)
            self.ways: Final = connect(self)
            opened.callback(self.ways.close)
            self.follower: Final = self._follower()
            orders: Orders = self.ways if isinstance(self.copy, Replica) else self.copy
            self.member: Final = Member(self.home, MemberLedger(orders, self.copy, self._arrived), self.clock, settings)
            opened.callback(self.member.close)
            self.member.custodian.meet(self.ways.custodians)
            self.duties: Final = Duties(self.member, settings.anchor_every_s, log)
            opened.callback(self.duties.close)
            self.keeper: Final = BlockKeeper(
                folder=folder,
                holder=self.member.holder,
                catalogue=self.member.forgetting,
                holders=self.ways.holders,
                reader=self.reader,
                finish=lambda: self.member.source(self.ways).finish(),
                log=log,
                rate_bytes_s=settings.blocks_check_bytes,
                every_s=settings.blocks_rest_s,
                notice=self._noticed,
            )
            opened.callback(self.keeper.close)
            self._begin()
            if self.follower is not None:
                opened.callback(self.follower.close)
                opened.callback(self.ways.close)  # what the follower waits for comes no more
                opened.callback(self.duties.close)
                opened.callback(self.follower.end)
            self._opened: Final = opened.pop_all()
        log.info("open", member=self.home.did, chain=known.chain, height=self.copy.machine.head.height)

    def close(self) -> None:
        """End everything, and let go of the home."""
        self._opened.close()
        self.log.info("closed", height=self.copy.machine.head.height)

    def reader(self) -> Reader:
        """The state that this node has executed."""
        return self.copy.reader()

    def submit(self, raw: bytes) -> Committed:
        """Pass a transaction on to whoever orders. See ``Engine.submit``."""
        return self.member.ledger.submit(raw)

    def outcome(self, tx_id: bytes) -> Committed | None:
        """See ``Engine.outcome``."""
        return self.copy.outcome(tx_id)

    def inclusion(self, tx_id: bytes, height: Height | None = None) -> Inclusion | None:
        """See ``Engine.inclusion``."""
        return self.copy.inclusion(tx_id, height)

    def entries(self, start: Height, height: Height | None = None) -> Entries:
        """See ``Engine.entries``."""
        return self.copy.entries(start, height)

    def status(self) -> Status:
        """See ``Engine.status``."""
        return self.copy.status()

    def query(self, key: bytes, height: Height | None = None) -> Answer:
        """See ``Engine.query``."""
        return self.copy.query(key, height)

    def light_block(self, height: Height | None = None) -> LightBlock:
        """See ``Engine.light_block``."""
        return self.copy.light_block(height)

    def blocks(self, start: Height) -> Iterator[Block]:
        """See ``Engine.blocks``."""
        return self.copy.blocks(start)

    def subscribe(self, cursor: str = "") -> Iterator[tuple[str, Event]]:
        """See ``Engine.subscribe``."""
        return self.copy.subscribe(cursor)

    @property
    def cometbft(self) -> Cometbft | None:
        """What CometBFT's RPC answers, where this node has one."""
        return None if isinstance(self.copy, (Embedded, Replica)) else self.copy.rpc.fetch

    @property
    def crossing(self) -> Crossing | None:
        """What leads to the ledger's second chain, where one followed."""
        return None if self.founding.crossed is None else self.founding.crossed.crossing

    def wait(self, height: Height, timeout_s: float) -> Height:
        """See ``Engine.wait``."""
        if isinstance(self.copy, Replica):
            assert self.follower is not None  # noqa: S101 - who has a replica follows
            return self.follower.wait(height, timeout_s)
        return self.copy.wait(height, timeout_s)

    def age_s(self) -> float:
        """How old the newest verified header is, as custodians judge it. Raises BadInput before the first block."""
        return max(self.clock() - self.copy.header().time, self.copy.seen_s())

    def checks(self) -> dict[str, Callable[[], bool]]:
        """What readiness asks."""
        return {
            "fresh": self._is_fresh,
            "ordering": lambda: self.copy.status().running,
            "room": lambda: shutil.disk_usage(self.folder).free >= self.settings.min_free_bytes,
            "writable": self._writable,
        }

    def is_well(self) -> bool:
        """Whether this process can go on; when not, it has to begin anew, and the log says why."""
        if not self.copy.stopped:
            return True
        failure: BaseException | None = getattr(self.copy, "failure", None)
        if failure is not None:
            self.log.error("the ledger has stopped", **about(failure))
        return False

    def suspect(self, cid: CID) -> None:
        """Someone asked for a block that could not be given: when it is here and damaged, its name is kept and told.

        It is made good out of what others have, a little later.
        """
        self.keeper.suspect(cid)
        try:
            self.home.blocks.get(cid)
        except Tampered as error:
            if cid not in self.damaged:
                self.log.error("block damaged", **about(error))
            self.damaged = {*self.damaged, cid}
        except CareMeshError:
            return  # it is not here, and nobody said that it had to be

    def _noticed(self, noticed: Noticed) -> None:
        if noticed.kind == "damaged" and noticed.holder == self.home.did:
            self.damaged = {*self.damaged, noticed.cid}

    @property
    def endpoint(self) -> str:
        """Where others reach this node, as the ledger says. Raises Unavailable node.22."""
        known = members.member(self.reader(), self.home.did)
        if known is None or not known.endpoints:
            raise Unavailable(NO_ADDRESS, self.home.did)
        return known.endpoints[0]

    def leaf(self) -> Leaf:
        """A certificate for a process of this node. By the system's clock: that is what TLS goes by."""
        return make_leaf(self.home.did, self.home.node_key, int(time.time()))

    def sign_with(self, key: SigningKey, after: Height | None) -> None:
        """This node's CometBFT signs blocks with another key, once the one ``after`` which it counts is followed by one
        that the old key has signed; where none comes, it may be the new key's that is waited for.
        """
        assert not isinstance(self.copy, (Embedded, Replica))  # noqa: S101 - asked for under CometBFT alone
        height = self.copy.machine.head.height if after is None else after
        with suppress(Unavailable):
            self.copy.wait(height + 1, SIGNED_WITHIN_S)
        self.copy.sign_with(key)

    def _follower(self) -> Follower | None:
        if not isinstance(self.copy, Replica):
            return None
        said = self.settings
        pace = Pace(said.follow_wait_s, said.retry_first_s, said.retry_most_s)
        return Follower(self.copy, self.ways.sources, pace, self.log, self._after_block)

    def _begin(self) -> None:
        if self.copy.machine.head.height:
            self.duties.wake()  # what came before it was stopped
        self.keeper.start()
        if self.follower is not None:
            self.follower.start()
        if not isinstance(self.copy, Replica):
            self.copy.on_block(lambda block: self._after_block(block.signed.content().height))
            self.copy.start()

    def _after_block(self, _: Height) -> None:
        """In the thread that made the block; the block is durable, and nothing here may hold up the next one."""
        try:
            self.member.upkeep()
        except CareMeshError as error:
            self.log.error("upkeep failed", **about(error))
        self._came_back()
        self.duties.wake()

    def _came_back(self) -> None:
        """A home made of a backup goes on from the first block that was made after that."""
        try:
            restored.came_back(self.folder, self.copy.machine.head.height, self.copy.machine.head.time)
        except CareMeshError as error:
            self.log.error("restored, and not back", **about(error))

    def _arrived(self, height: Height) -> None:
        if height > self.copy.machine.head.height:
            self.wait(height, ARRIVES_WITHIN_S)

    def _is_fresh(self) -> bool:
        """By the very rule of custodians."""
        try:
            check_fresh(self.copy.header().time, self.copy.seen_s(), self.clock())
        except (Refused, BadInput):  # too old, or there is none yet
            return False
        return True

    def _writable(self) -> bool:
        mark = self.folder / "run" / "writable"
        mark.write_bytes(b"1")
        return mark.read_bytes() == b"1"
