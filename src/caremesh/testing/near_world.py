"""The main job's world in one process: ``LocalMesh``, a clock that can be set, custodians that can be made to lie."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from caremesh.contracts.access.state import Receipt
from caremesh.gateway.ask import Asked, Requester
from caremesh.gateway.gateway import Gateway
from caremesh.gateway.gather import ReleaseCustodian
from caremesh.gateway.opening import Opened
from caremesh.ledger.state import Reader
from caremesh.node.founding import CHAIN
from caremesh.node.member import MemberHome
from caremesh.node.mesh import LocalMesh
from caremesh.sealing.channel import SharedStream
from caremesh.source.importer import ImportReport
from caremesh.testing.clock import SettableClock
from caremesh.testing.faults import LyingCustodian
from caremesh.testing.world import ORDERED, Seen
from caremesh.types import Code, Count, Did, Digest, Height, Seconds


@contextmanager
def near(folder: Path) -> Iterator[NearWorld]:
    """A fresh mesh in this process."""
    world = NearWorld(folder, SettableClock())
    try:
        yield world
    finally:
        world.close()


class NearWorld(LocalMesh):
    """See ``World``."""

    def __init__(self, folder: Path, clock: SettableClock) -> None:
        super().__init__(folder, clock)
        self._settable = clock
        self._liars: dict[Did, ReleaseCustodian] = {}

    def home(self, name: str) -> MemberHome:
        """See ``World``."""
        return self.member(name).home

    def reader(self) -> Reader:
        """See ``World``."""
        return self.engine.reader()

    def ordered(self) -> str:
        """See ``World``."""
        return ORDERED

    def states(self) -> list[tuple[Height, Digest]]:
        """See ``World``."""
        found = [self.engine.status(), *(replica.status() for replica in self.replicas)]
        return [(status.height, status.app_hash) for status in found]

    def seen(self) -> list[Seen]:
        """See ``World``."""
        return [Seen(member.home.profile.label, member.home.profile.roles) for member in self.members.values()]

    def import_file(self, member: str, data: bytes) -> ImportReport:
        """See ``World``."""
        return self.member(member).source(self).import_bundle(data)

    def shared(self, member: str, category: Code) -> SharedStream:
        """See ``World``."""
        return self._gateway(member).shared(category)

    def ask_for(self, member: str, category: Code, purpose: Code, legal_basis: Sequence[Code]) -> Receipt:
        """See ``World``."""
        gateway = self._gateway(member)
        consent = gateway.shared(category).consent
        return gateway.ask(Asked(consent, "read", purpose, legal_basis), self._practitioner(member))

    def open(self, member: str, receipt: Receipt) -> Opened:
        """See ``World``."""
        return self._gateway(member).open(receipt, self._practitioner(member))

    def custodians_of(self, member: str) -> Mapping[Did, ReleaseCustodian]:
        """See ``World``."""
        self.member(member)
        return {**self.custodians, **self._liars}

    @contextmanager
    def lying(self, custodian: Did) -> Iterator[None]:
        """See ``World``."""
        home = self._by_did(custodian).home
        self._liars[custodian] = LyingCustodian(self.custodians[custodian], home.node_key)
        try:
            yield
        finally:
            del self._liars[custodian]

    def block_folders(self, asker: str) -> list[Path]:
        """See ``World``."""
        self.member(asker)
        homes = [member.home for member in self.members.values() if member.home.profile.holds_blocks]
        return [home.folder / "blocks" for home in homes]

    def damaged(self) -> list[str]:
        """See ``World``; here, who asks reads the block itself and finds out."""
        return []

    def confirmed(self, beyond: Count = 0) -> Count:
        """See ``World``; here, what follows a block has followed when the block is there."""
        del beyond
        return len(self.confirmations)

    def let_pass(self, seconds: Seconds) -> None:
        """See ``World``."""
        self._settable.advance(seconds)
        self.tick()

    def _gateway(self, member: str) -> Gateway:
        return self.member(member).gateway(self, self.custodians_of(member))

    def _practitioner(self, member: str) -> Requester:
        return self.member(member).home.practitioner(CHAIN)
