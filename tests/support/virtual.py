"""Five members in one process and in virtual time, with a network between them that a story can cut, slow and restart.

Blocks come to a member when it is not cut from the operator and its lag is over; what it sends needs the same way.
The patient reaches everybody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, cast

from caremesh.consensus.interface import Committed
from caremesh.consensus.replica import Replica
from caremesh.errors import Unavailable
from caremesh.gateway.gather import OneByOne, ReleaseCustodian
from caremesh.ledger.blocks import Block
from caremesh.ledger.transactions import Message
from caremesh.node.errors import NO_SOURCE
from caremesh.node.member import FOUNDERS, MemberHome
from caremesh.node.mesh import OPERATOR
from caremesh.node.relay import MemberLedger, SubjectLedger, signed_tx
from caremesh.node.running import LEDGER, Member
from caremesh.testing.near_world import NearWorld
from caremesh.types import Did, Seconds
from caremesh.wallet.ports import Sponsor

START_S: Seconds = 1_800_000_000


class VirtualClock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now: Seconds = START_S

    def __call__(self) -> Seconds:
        return self.now

    def advance(self, seconds: Seconds) -> None:
        self.now += seconds


class Virtual(NearWorld):
    """``NearWorld`` over such a network. ``released`` hears of each release: custodian and receipt's request."""

    def __init__(self, folder: Path) -> None:
        self.time = VirtualClock()
        self.apart: frozenset[str] = frozenset()
        """Who is on the side without the operator."""
        self.lag: dict[str, Seconds] = {}
        self.heard: Callable[[str], None] = lambda _: None
        self._begun = False
        super().__init__(folder, cast("Any", self.time))
        self._begun = True
        for name in self.members:
            self._wire(name)

    @property
    def followers(self) -> list[str]:
        return [name for name in self.members if name != OPERATOR]

    def copy(self, name: str) -> Replica:
        return cast("Replica", self.members[name].ledger.copy)

    def together(self, one: str, other: str) -> bool:
        return (one in self.apart) == (other in self.apart)

    def deliver(self, name: str, *, wait: bool = False) -> None:
        """The blocks that have come to a follower by now; with ``wait`` all that are on their way."""
        if name == OPERATOR or not self.together(name, OPERATOR):
            return
        copy, applied = self.copy(name), False
        for block in self.engine.blocks(copy.height() + 1):
            if not wait and block.signed.content().time + self.lag.get(name, 0) > self.time.now:
                break
            copy.apply(block)
            applied = True
        if applied:
            self.confirmations += self.members[name].follow()

    def restart(self, name: str) -> None:
        """A follower ends as a crash ends it, and begins with what its disk has."""
        self.members.pop(name).close()
        old = next(copy for copy in self.replicas if copy.machine.store._folder == str(self.folder / name / LEDGER))
        old.close()
        self.replicas.remove(old)
        profile = next(profile for profile in FOUNDERS if profile.name == name)
        copy = self.founding.replica(self.folder / name / LEDGER, self.clock)
        self.replicas.append(copy)
        home = MemberHome(self.folder / name, self.chain, profile)
        self.members[name] = Member(home, MemberLedger(self.engine, copy), self.clock)
        self._closing.callback(self.members[name].close)
        self._closing.callback(copy.close)
        self._wire(name)
        for custodian in self.custodians.values():
            custodian.meet(self.custodians)

    def subject_ledger(self) -> SubjectLedger:
        """By way of the operator, whom nobody is cut from."""
        return SubjectLedger(self.engine, self.members[OPERATOR].ledger)

    @property
    def relay(self) -> Did:
        return self.members[OPERATOR].home.did

    def sponsor(self, name: str = "") -> Sponsor:
        return super().sponsor(name or OPERATOR)

    def signed(self, home: MemberHome, message: Message) -> bytes:
        """A transaction by a member."""
        return signed_tx(self.chain, self.clock(), [home.requester], message)

    def custodians_of(self, member: str) -> Mapping[Did, ReleaseCustodian]:
        """As the member reaches them."""
        ways = super().custodians_of(member)
        names = {self.did(name): name for name in self.members}
        return {did: cast("ReleaseCustodian", _Way(self, member, names[did], way)) for did, way in ways.items()}

    def _follow(self, block: Block) -> None:
        """In place of at once: when it comes."""
        if not self._begun:
            super()._follow(block)
            return
        self.confirmations += self.members[OPERATOR].follow()

    def _wire(self, name: str) -> None:
        member, orders = self.members[name], _Orders(self, name)
        member.ledger._engine = orders
        member.ledger._arrived = lambda _: self.deliver(name, wait=True)
        member.ledger.outbox._submit_many = orders.submit_many
        if name != OPERATOR:
            self.copy(name)._monotonic = self.time


class _Orders:
    def __init__(self, world: Virtual, name: str) -> None:
        self._world = world
        self._name = name

    def submit(self, raw: bytes) -> Committed:
        return self.submit_many([raw])[0].result()

    def submit_many(self, raws: Sequence[bytes]) -> list[Future[Committed]]:
        if not self._world.together(self._name, OPERATOR):
            raise Unavailable(NO_SOURCE, OPERATOR)
        return self._world.engine.submit_many(raws)


class _Way(OneByOne):
    def __init__(self, world: Virtual, member: str, name: str, way: ReleaseCustodian) -> None:
        self._world = world
        self._member = member
        self._name = name
        self._way = way

    def release(self, data: bytes) -> list[bytes]:
        if not self._world.together(self._member, self._name):
            raise Unavailable(NO_SOURCE, self._name)
        self._world.deliver(self._name, wait=True)  # who asks, asks again until it has come
        found = self._way.release(data)
        self._world.heard(self._name)
        return found
