"""A member's blocks behind its outer door, with accounts, quotas, links and the gateway."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from caremesh.api import blocks, ipfs
from caremesh.api.capabilities import Capabilities
from caremesh.api.limits import Limits
from caremesh.api.routes import Route
from caremesh.api.serving import Doors, listen
from caremesh.blobs.accounts import Accounts
from caremesh.blobs.holding import Holder
from caremesh.blobs.interface import BlockStore
from caremesh.blobs.memory import MemoryBlocks
from caremesh.codec import CID
from caremesh.node.mesh import LocalMesh
from caremesh.node.running import Member
from tests.support.serving import Served


class BlockNode(Served):
    """One member, holding blocks in a store of its own; ``suspected``: what it was told to look at."""

    def __init__(
        self,
        mesh: LocalMesh,
        name: str,
        folder: Path,
        *,
        store: BlockStore | None = None,
        is_open: bool = False,
        **more: Any,
    ) -> None:
        home = mesh.member(name).home
        self.suspected: list[CID] = []
        self.store = store or MemoryBlocks()
        self.accounts = Accounts(folder / f"accounts-{name}")
        self.holder = Holder(
            did=home.did, store=self.store, accounts=self.accounts, ledger=mesh.engine, clock=mesh.clock, **more
        )
        self.may = Capabilities(
            did=home.did,
            key=home.node_key.public,
            signer=home.node_key,
            blocks=self.store,
            clock=mesh.clock,
            is_open=is_open,
        )
        limits = Limits(per_second_address=10_000.0, burst_address=100_000, per_second=10_000.0, burst=100_000)
        super().__init__(mesh, name, folder, limits)
        plain = listen("127.0.0.1", 0)
        self.plain_url = f"http://127.0.0.1:{plain.getsockname()[1]}"
        """Without TLS, for clients that cannot be told which certificate to trust; what they fetch they check."""
        self.doors = Doors(self.app, [(self.socket, self._context), (plain, None)], self.limits)

    def _routes(self, member: Member) -> list[Route]:
        ports = blocks.Ports(
            holder=self.holder,
            may=self.may,
            reader=self.mesh.engine.reader,
            clock=self.mesh.clock,
            suspect=self.suspected.append,
        )
        return [*super()._routes(member), *blocks.routes(ports), *ipfs.routes(ports)]

    def stop(self) -> None:
        super().stop()
        self.accounts.close()


@contextmanager
def block_node(mesh: LocalMesh, name: str, folder: Path, **more: Any) -> Iterator[BlockNode]:
    """One member, served while the block runs."""
    running = BlockNode(mesh, name, folder, **more)
    running.start()
    try:
        yield running
    finally:
        running.stop()
