"""One member's copy of the ledger made anew from a snapshot, and brought up to date out of another member's copy."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from caremesh.consensus.replica import Replica
from caremesh.errors import BadInput, CareMeshError
from caremesh.node import errors, founding, snapshots
from caremesh.node.founding import Clock, Founding
from caremesh.node.member import FOUNDERS
from caremesh.node.mesh import hold
from caremesh.node.reexecute import catch_up, restore
from caremesh.node.running import LEDGER
from caremesh.types import Height


class Repaired(NamedTuple):
    """``start``: the snapshot's height; ``height``: that of the last block executed since."""

    start: Height
    height: Height


def repair(
    folder: Path,
    name: str,
    file: Path,
    clock: Clock,
    progress: snapshots.Progress = lambda *_: None,
    tell: Callable[[Height], None] = lambda _: None,
) -> Repaired:
    """Replace the copy of the member ``name`` of the mesh in ``folder``; until the snapshot is whole, nothing changes.

    Raises BadInput node.02, node.04, node.07; Refused node.03; Tampered node.08, snapshot.NN, light.NN, consensus.03.
    """
    names = [profile.name for profile in FOUNDERS]
    known = founding.load(folder)
    if known is None:
        raise BadInput(errors.NO_MESH)
    if name not in names:
        raise BadInput(errors.UNKNOWN_MEMBER, ", ".join(names))
    with ExitStack() as stack:
        stack.enter_context(hold(folder))
        start = restore(known, file, folder / name / LEDGER, clock(), progress)
        mine = known.replica(folder / name / LEDGER, clock)
        stack.callback(mine.close)
        others = [other for other in names if other != name]
        copies = [copy for other in others if (copy := _open(known, folder / other / LEDGER, clock, stack))]
        fullest = max(copies, key=Replica.height, default=mine)
        catch_up(mine, fullest.blocks(start + 1), tell)
        return Repaired(start, mine.height())


def _open(known: Founding, folder: Path, clock: Clock, stack: ExitStack) -> Replica | None:
    """Another member's copy; None when it has none, or one that is damaged too."""
    if not (folder / "data.mdb").exists():
        return None
    try:
        copy = known.replica(folder, clock)
    except CareMeshError:
        return None
    stack.callback(copy.close)
    return copy
