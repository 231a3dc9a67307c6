"""Execute a ledger again, from genesis or from the oldest snapshot that is kept, and compare every hash."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from caremesh.consensus.replica import Replica
from caremesh.errors import BadInput, Refused
from caremesh.ledger.blocks import Block
from caremesh.node import snapshots
from caremesh.node.errors import PRUNED
from caremesh.node.founding import Founding
from caremesh.node.mesh import LocalMesh
from caremesh.types import Digest, Height


class Reexecuted(NamedTuple):
    """``start``: the height of the snapshot that it began from, 0 for genesis."""

    start: Height
    height: Height
    app_hash: Digest


def reexecute(mesh: LocalMesh, tell: Callable[[Height, Height], None] = lambda *_: None) -> Reexecuted:
    """Execute every block that is kept, in a fresh replica.

    Raises Tampered consensus.03, light.NN, snapshot.NN; BadInput node.07 when the blocks after a snapshot have gone.
    """
    status = mesh.engine.status()
    with tempfile.TemporaryDirectory(prefix="caremesh-verify-") as name:
        folder = Path(name)
        start = 0
        if status.oldest > 1:
            usable = [height for height in snapshots.heights(mesh.snapshots) if height >= status.oldest - 1]
            if not usable:
                raise BadInput(PRUNED)
            start = usable[0]
            restore(mesh.founding, snapshots.path_of(mesh.snapshots, start), folder, mesh.clock())
        replica = mesh.founding.replica(folder, mesh.clock)
        try:
            catch_up(replica, mesh.engine.blocks(start + 1), lambda height: tell(height, status.height))
            return Reexecuted(start, replica.height(), replica.status().app_hash)
        finally:
            replica.close()


def restore(
    founding: Founding,
    file: Path,
    folder: Path,
    now: int,
    progress: snapshots.Progress = lambda *_: None,
) -> Height:
    """Make ``folder`` a ledger of this mesh from a snapshot file; see ``snapshots.restore``."""
    client = founding.light_client()
    return snapshots.restore(file, folder, client=client, chain=founding.chain, now=now, progress=progress).height


def catch_up(replica: Replica, blocks: Iterable[Block], tell: Callable[[Height], None] = lambda _: None) -> None:
    """Execute the blocks that follow. Raises BadInput node.07 when those in between are missing; what apply raises."""
    try:
        for block in blocks:
            replica.apply(block)
            tell(replica.height())
    except Refused as error:
        raise BadInput(PRUNED, error.place) from error
