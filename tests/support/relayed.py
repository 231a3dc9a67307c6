"""Every member of a local mesh behind its own door, in the service of wallets; and wallets that come by the network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from caremesh import codec
from caremesh.api import blocks
from caremesh.api.capabilities import Capabilities
from caremesh.api.limits import Limits
from caremesh.api.routes import Route
from caremesh.client.blocking import Portal
from caremesh.client.node import Node
from caremesh.client.wallet import WalletClient
from caremesh.node.mesh import LocalMesh, Member
from caremesh.types import Did, Multikey
from caremesh.wallet.network import Network
from tests.support.serving import Served

LIMITS = Limits(per_second_address=10_000, burst_address=100_000)


class Relayed(Served):
    """One member, whose node reaches the others by their doors. Who holds blocks gives them out by links."""

    doors_of_all: Mapping[str, Relayed]
    portal: Portal

    def _routes(self, member: Member) -> list[Route]:
        mine = super()._routes(member)
        if not member.home.profile.holds_blocks:
            return mine
        key = member.home.node_key
        self.may = Capabilities(
            did=member.home.did, key=key.public, signer=key, blocks=member.home.blocks, clock=self.mesh.clock
        )
        ports = blocks.Ports(
            holder=member.holder,
            may=self.may,
            reader=self.mesh.engine.reader,
            clock=self.mesh.clock,
            suspect=lambda _: None,
        )
        return [*mine, *blocks.routes(ports)]

    def letter(self, member: Did, sealed: bytes) -> bytes:
        """See ``Carries``."""
        way = WalletClient(self._way(member))
        return self.portal.call(lambda: way.letter(member, sealed))

    def leave(self, relay: Did, channel_key: Multikey, sealed: bytes) -> None:
        """See ``Carries``."""
        way = WalletClient(self._way(relay))
        self.portal.call(lambda: way.leave(channel_key, sealed))

    def _way(self, to: Did) -> Node:
        [door] = [door for door in self.doors_of_all.values() if door.home.did == to]
        name = next(name for name, each in self.doors_of_all.items() if each is self)
        return self.portal.node(lambda: door.as_member(name))


class RelayedMesh:
    """All of them."""

    def __init__(self, mesh: LocalMesh, doors: dict[str, Relayed]) -> None:
        self.mesh = mesh
        self.doors = doors

    def network(self, relay: str = "hospital", *, away: str = "", **others: object) -> Network:
        """The network as a wallet reaches it. ``away``: a member at whose address nobody answers."""
        addresses = {door.home.did: door.url for door in self.doors.values()}
        if away:
            addresses[self.mesh.did(away)] = "https://127.0.0.1:9"
        file = codec.encode(self.mesh.founding)
        return Network(file, self.mesh.did(relay), self.mesh.clock, addresses=addresses, **others)  # type: ignore[arg-type]


@contextmanager
def relayed(mesh: LocalMesh, folder: Path, limits: Limits = LIMITS) -> Iterator[RelayedMesh]:
    """Served while the block runs."""
    doors = {name: Relayed(mesh, name, folder, limits) for name in mesh.members}
    with ExitStack() as stack:
        for door in doors.values():
            door.doors_of_all = doors
            door.start()
            stack.callback(door.stop)
        portal = stack.enter_context(Portal())  # who calls lets go before who is called
        for door in doors.values():
            door.portal = portal
        yield RelayedMesh(mesh, doors)
