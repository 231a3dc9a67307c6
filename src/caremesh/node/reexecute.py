"""Execute a whole ledger again, from genesis, and compare every hash."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from caremesh.consensus.replica import Replica
from caremesh.contracts import Contracts
from caremesh.errors import BadInput, ErrorCode
from caremesh.node.mesh import CHAIN, LocalMesh
from caremesh.types import Digest, Height

PRUNED = ErrorCode(
    "node.07", "The first blocks are no longer kept, so it cannot be executed from genesis.", "Check the replicas."
)


def reexecute(mesh: LocalMesh, tell: Callable[[Height, Height], None] = lambda *_: None) -> tuple[Height, Digest]:
    """(height, app hash) after executing every block in a fresh replica. Raises Tampered consensus.03, light.NN."""
    last = mesh.engine.status().height
    with tempfile.TemporaryDirectory(prefix="caremesh-verify-") as folder:
        replica = Replica(
            Path(folder),
            Contracts(),
            chain=CHAIN,
            genesis=mesh.genesis,
            genesis_time=mesh.genesis_time,
            validators=mesh.validators,
            clock=mesh.clock,
            monotonic=time.monotonic,
        )
        try:
            for block in mesh.engine.blocks(1):
                replica.apply(block)
                tell(replica.height(), last)
            if replica.height() != last:
                raise BadInput(PRUNED)
            return replica.height(), replica.status().app_hash
        finally:
            replica.close()
