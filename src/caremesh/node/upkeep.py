"""What one copy of the ledger does by itself, four times in ``params.retain_blocks`` heights: a snapshot, then what is
older than the blocks that are kept goes, in every file.

The machine drops blocks, results, events and undo records with each commit. Here go the snapshots that are too old, and
by compaction the free pages. So there is always a snapshot from which every block that is kept can be executed again.

Under CometBFT snapshots are the engine's affair, for other nodes: see ``consensus/cometbft``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from caremesh.blobs.durable import STORAGE_FAILED, remove_leftovers
from caremesh.consensus.compaction import compact
from caremesh.errors import StorageFailed
from caremesh.node import snapshots
from caremesh.types import Height

TIMES: Final = 4


class Upkeep:
    """One copy's. Called after each block, by the thread that made it."""

    def __init__(self, copy: snapshots.Copy, ledger: Path, kept: Path) -> None:
        """``ledger``: the folder of the database; ``kept``: that of the snapshots. Raises StorageFailed."""
        self._copy = copy
        self._ledger = ledger
        self._kept = kept
        try:
            kept.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StorageFailed(STORAGE_FAILED, kept.name) from error
        remove_leftovers(kept)
        self._newest: Height = max(snapshots.heights(kept), default=0)
        self._snapshots = not copy.keeps_snapshots

    def after(self, height: Height) -> None:
        """Do what is due at this height. Raises StorageFailed."""
        retained = self._copy.machine.params.retain_blocks
        if height - self._newest < max(1, retained // TIMES):
            return
        if self._snapshots:
            snapshots.write(self._copy, snapshots.path_of(self._kept, height))
        self._newest = height
        try:
            for old in snapshots.heights(self._kept):
                if old < height - retained:
                    snapshots.path_of(self._kept, old).unlink()
        except OSError as error:
            raise StorageFailed(STORAGE_FAILED, self._kept.name) from error
        compact(self._copy.machine.store, self._ledger)
