"""A node goes over from a ledger that one key orders to the same one, ordered by its members together (ADR 0120).

Nothing is asked of anybody: when this node's own copy has the last block of the old chain, that block and the proof of
who follows, both out of the copy, are written beside the founding file, and CometBFT begins with them.
"""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from caremesh import codec
from caremesh.blobs.durable import write_durably
from caremesh.consensus import kept
from caremesh.consensus.compaction import open_for_reading
from caremesh.contracts import Contracts
from caremesh.contracts.network import queries as network
from caremesh.ledger.past import StateAt
from caremesh.ledger.succession import SUCCESSION
from caremesh.node import founding
from caremesh.node.founding import Crossed, Founding, Peer


def taken(home: Path, state: Path, known: Founding) -> Founding:
    """The founding, with the crossing where this copy (the folder ``state``) has come to it; kept in the home.

    Raises Tampered, WrongLedger, StorageFailed.
    """
    if known.orders == "cometbft" or not (state / "data.mdb").exists() or not _is_over(state, known.chain):
        return known
    machine = kept.open_machine(state, Contracts(), chain=known.chain, genesis=known.genesis, genesis_time=known.time)
    try:
        decided = network.conversion(machine.reader())
        named = [] if decided is None else decided.peers
        peers = [Peer(each.member, each.address) for each in named]
        crossed = Crossed(kept.crossing_of(machine, known.validators), peers)
    finally:
        machine.store.close()
    write_durably(home / founding.CROSSING, codec.encode(crossed))
    return replace(known, crossed=crossed)


def is_behind(state: Path, known: Founding) -> bool:
    """Whether a copy has not come to the last block of the old chain yet, and follows those before by themselves."""
    if known.crossed is None:
        return False
    if not (state / "data.mdb").exists():
        return True
    store = open_for_reading(state, known.chain)
    try:
        with store.read() as read:
            head = read.head()
    finally:
        store.close()
    return (head.height if head else 0) < known.crossed.crossing.block.signed.content().height


def _is_over(state: Path, chain: str) -> bool:
    store = open_for_reading(state, chain)
    try:
        return SUCCESSION.get(StateAt(store)) is not None
    finally:
        store.close()
