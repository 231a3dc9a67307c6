"""Small transactions of a member, one after the other, each another."""

from __future__ import annotations

import os

from caremesh.consensus.interface import Committed
from caremesh.contracts.members.messages import SetEndpoints
from caremesh.ledger.transactions import Signer, Tx, encode, sign
from caremesh.node.founding import CHAIN
from caremesh.node.mesh import LocalMesh


class Sending:
    """The laboratory changes its address, again and again."""

    def __init__(self, mesh: LocalMesh) -> None:
        self.mesh = mesh
        self._count = 0

    def raw(self) -> bytes:
        """A transaction that was not sent yet."""
        self._count += 1
        home = self.mesh.member("laboratory").home
        tx = Tx(
            chain=CHAIN,
            expires_at=self.mesh.clock() + 60,
            salt=os.urandom(8),
            signers=[Signer(key=home.key.public, did=home.did)],
            msgs=[SetEndpoints(member=home.did, endpoints=[f"https://127.0.0.1:{self._count}"])],
        )
        return sign(encode(tx), [home.key])

    def one(self) -> Committed:
        """Send one."""
        return self.mesh.engine.submit(self.raw())

    def tick(self) -> None:
        """A block of its own."""
        self.mesh.tick()
