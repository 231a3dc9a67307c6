"""Rehearse an upgrade: what the next rules' migration would do to this node's ledger, tried on a copy of it.

The copy is made beside the ledger while the node may run, and goes afterwards; nothing of the node is touched.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from caremesh.blobs.durable import STORAGE_FAILED
from caremesh.consensus import kept
from caremesh.consensus.compaction import open_for_reading
from caremesh.contracts import Contracts
from caremesh.contracts.network import queries as network
from caremesh.errors import BadInput, ErrorCode, Refused, StorageFailed
from caremesh.ledger.machine import Machine
from caremesh.ledger.store import NOT_KEPT
from caremesh.node import founding
from caremesh.node.errors import NOT_JOINED
from caremesh.node.running import LEDGER
from caremesh.types import Count, Height

NOTHING_TO_DO = ErrorCode(
    "node.33",
    "This program does not have the rules that would follow.",
    "Install the version of CareMesh that has them, beside the one that runs, and rehearse with that.",
)


class Rehearsal(Struct, frozen=True, kw_only=True):
    """What a migration would do. ``version``: that it leads to; ``at``: from which height that is decided, None where
    it is not yet; ``height``: of the state it was tried on; roots in hexadecimal; seconds on this machine.
    """

    version: Count
    at: Height | None
    height: Height
    root_before: str
    root_after: str
    added: Count
    changed: Count
    removed: Count
    copy_s: float
    migrate_s: float


def rehearse(home: Path, contracts: Contracts | None = None, clock: Callable[[], float] = time.monotonic) -> Rehearsal:
    """Apply the migration to the next rules to a copy of a home's ledger.

    Raises Refused node.13 in no network, node.33 without those rules; BadInput ledger.11 before the first block;
    StorageFailed; and what the migration raises.
    """
    known = founding.load(home)
    if known is None:
        raise Refused(NOT_JOINED, home.name)
    program = contracts or Contracts()
    began = clock()
    folder = Path(tempfile.mkdtemp(prefix=".rehearsal-", dir=home))
    try:
        _copy(home / LEDGER, folder, known.chain)
        machine = kept.open_machine(folder, program, chain=known.chain, genesis=known.genesis, genesis_time=known.time)
        try:
            return _tried(machine, program, began, clock)
        finally:
            machine.store.close()
    except OSError as error:
        raise StorageFailed(STORAGE_FAILED, home.name) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _tried(machine: Machine, program: Contracts, began: float, clock: Callable[[], float]) -> Rehearsal:
    now = network.rules(machine.reader())
    version = now.following or now.version + 1
    if not program.knows(version):
        raise Refused(NOTHING_TO_DO, f"version {version}")
    copied = clock()
    root, changes = machine.rehearse(lambda view: program.migrate(view, version))
    return Rehearsal(
        version=version,
        at=now.height if now.following is not None else None,
        height=machine.head.height,
        root_before=machine.head.app_hash.hex(),
        root_after=root.hex(),
        added=sum(before is None for _, before, _ in changes),
        changed=sum(before is not None and after is not None for _, before, after in changes),
        removed=sum(after is None for _, _, after in changes),
        copy_s=round(copied - began, 3),
        migrate_s=round(clock() - copied, 3),
    )


def _copy(state: Path, to: Path, chain: str) -> None:
    if not (state / "data.mdb").exists():
        raise BadInput(NOT_KEPT, "before genesis")
    store = open_for_reading(state, chain)
    try:
        store.compact(str(to))
    finally:
        store.close()
