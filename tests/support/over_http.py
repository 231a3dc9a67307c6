"""Members of a local mesh reached over HTTP by roles that block, as between machines: custodians and the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from caremesh.api.limits import Limits
from caremesh.client.blocking import Portal, RemoteCustodian, RemoteLedger
from caremesh.client.custody import CustodyClient
from caremesh.client.directory import RemoteDirectory
from caremesh.client.ledger import LedgerClient
from caremesh.codec import CID
from caremesh.crypto.keys import SigningKey
from caremesh.ledger.transactions import Signs
from caremesh.node.mesh import LocalMesh
from caremesh.types import Did
from caremesh.wallet.reseal import Blocks
from tests.support.serving import Served, served


class OverHttp:
    """Every member of a mesh behind its own door, and the ways of whoever calls."""

    def __init__(self, mesh: LocalMesh, doors: dict[str, Served], portal: Portal) -> None:
        self.mesh = mesh
        self.doors = doors
        self.portal = portal

    def custodians(self, caller: str) -> dict[Did, RemoteCustodian]:
        """The custodians as a member's node reaches them."""
        return {
            door.home.did: RemoteCustodian(
                self.portal, CustodyClient(self.portal.node(lambda door=door: door.as_member(caller)))
            )
            for name, door in self.doors.items()
            if self.mesh.member(name).is_custodian
        }

    def directories(self, caller: str) -> dict[Did, RemoteDirectory]:
        """The directory of each member as a member's node reaches it."""
        return {
            door.home.did: RemoteDirectory(self.portal, self.portal.node(lambda door=door: door.as_member(caller)))
            for door in self.doors.values()
        }

    def ledger(self, at: str, caller: str) -> RemoteLedger:
        """The ledger at a member's node, as another's reaches it."""
        node = self.portal.node(lambda: self.doors[at].as_member(caller))
        return RemoteLedger(self.portal, LedgerClient(node), at)

    def wallet(self) -> WalletWay:
        """The custodians as a wallet reaches them, under a key of its own."""
        key = SigningKey.generate()
        return WalletWay(
            self.mesh,
            {
                door.home.did: RemoteCustodian(
                    self.portal, CustodyClient(self.portal.node(lambda door=door: door.as_key(key)))
                )
                for name, door in self.doors.items()
            },
        )


class WalletWay:
    """See ``wallet.wallet.Keepers``, ``asking.LogKeepers`` and ``erase.Keepers``. Blocks go the way of the mesh."""

    def __init__(self, mesh: LocalMesh, ways: Mapping[Did, RemoteCustodian]) -> None:
        self._mesh = mesh
        self._ways = ways

    def deposit(self, custodian: Did, sealed: bytes) -> bytes:
        return self._ways[custodian].deposit_fragment(sealed)

    def deposit_reseal(self, custodian: Did, sealed: bytes) -> bytes:
        return self._ways[custodian].deposit_reseal(sealed)

    def own_seals(self, custodian: Did, request: bytes) -> bytes:
        return self._ways[custodian].seals(request)

    def own_log(self, custodian: Did, request: bytes) -> bytes:
        return self._ways[custodian].stream_log(request)

    def confirm_erased(self, member: Did, stream: bytes, segment: int) -> list[bytes]:
        return self._ways[member].confirm_erased(stream, segment)

    def blocks_of(self, stream: bytes, source: Did, key: Signs, cids: Sequence[CID]) -> Blocks:
        return self._mesh.blocks_of(stream, source, key, cids)


@contextmanager
def over_http(mesh: LocalMesh, folder: Path, limits: Limits | None = None) -> Iterator[OverHttp]:
    """All members behind their doors."""
    with ExitStack() as stack:
        doors = {name: stack.enter_context(served(mesh, name, folder, limits)) for name in mesh.members}
        yield OverHttp(mesh, doors, stack.enter_context(Portal()))
