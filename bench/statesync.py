"""Joining by a snapshot of a million keys: what the ledger's process does of CometBFT's state sync, at both ends.

Taking it, and serving it, is measured at the node that has the state. Of who joins, all that the handlers do: list →
offer (headers verified by our light client) → load and apply 256 chunks → the root computed anew over the database,
which is durable. Requests and answers go through protobuf, as they do on the socket. Not in it: CometBFT's own part,
which is its light client, five seconds of looking around for peers, and the network between them; nor the blocks after
the snapshot. Keys and values are of the size that consents have (41 and 72 bytes).
"""

from __future__ import annotations

import gc
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from bench._measure import entry
from bench._network import populate
from caremesh import codec
from caremesh.consensus.cometbft.abci_pb2 import Request, RequestApplySnapshotChunk, Response
from caremesh.consensus.cometbft.snapshot_files import Snapshotting
from caremesh.ledger import history
from caremesh.ledger.snapshot import CHUNKS
from tests.support.comet_chain import Chain, Node
from tests.support.kv import CHAIN, GENESIS, VALUES, Put, transaction

AREAS: Final = ("statesync",)
KEYS: Final = 1_000_000
ROUNDS: Final = 3
GOAL_S: Final = 60.0


def _rows() -> list[tuple[bytes, bytes]]:
    log, _ = history.append(history.frontier({}), [])
    rows = [(VALUES.key(b"%032d" % number), codec.encode(b"%070d" % number)) for number in range(KEYS)]
    return [*rows, (VALUES.key(b"genesis"), codec.encode(GENESIS)), (history.STATE_KEY, codec.encode(log))]


def _joined_s(folder: Path, source: Node, chain: Chain) -> dict[str, float]:
    """Seconds of a join, by part."""
    late = Node(folder, joining=chain.joining())
    late.clock.now += 100
    parts = dict.fromkeys(("offer", "load", "apply", "last"), 0.0)
    try:
        start = time.perf_counter()
        (snapshot,) = source.listed()
        if late.offer(snapshot, chain.headers[snapshot.height].app_hash) != 1:
            raise RuntimeError("the offer was refused")
        parts["offer"] = time.perf_counter() - start
        for number in range(CHUNKS):
            start = time.perf_counter()
            chunk = source.chunk(snapshot.height, number)
            parts["load"] += time.perf_counter() - start
            start = time.perf_counter()
            words = Request(apply_snapshot_chunk=RequestApplySnapshotChunk(index=number, chunk=chunk, sender="peer"))
            told = late.application.answer(Request.FromString(words.SerializeToString()))
            if Response.FromString(told.SerializeToString()).apply_snapshot_chunk.result != 1:
                raise RuntimeError(f"chunk {number} was refused")
            parts["last" if number == CHUNKS - 1 else "apply"] += time.perf_counter() - start
        if late.machine.head.app_hash != chain.headers[snapshot.height].app_hash:
            raise RuntimeError("another state")
    finally:
        late.close()
    return parts


def run() -> list[dict[str, Any]]:
    """Seconds from the offer to a state that is durable and verified; and what taking a snapshot costs."""
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "source").mkdir()
        populate(folder / "source" / "state", CHAIN, GENESIS, _rows())
        source, chain = Node(folder / "source", Snapshotting(every=3, kept=1)), Chain()
        try:
            for number in range(2):
                source.take(chain.next(source.machine.head.app_hash), transaction(Put(key=b"%d" % number, value=b"1")))
            start = time.perf_counter()
            source.take(chain.next(source.machine.head.app_hash))
            taken = time.perf_counter() - start
            for _ in range(2):
                source.take(chain.next(source.machine.head.app_hash))
            size = (folder / "source" / "snapshots" / f"{3:012}.chunks").stat().st_size
            rounds = []
            for number in range(ROUNDS):
                gc.collect()
                rounds.append(_joined_s(folder / str(number), source, chain))
        finally:
            source.close()
    found.append(entry("statesync.1e6", [sum(parts.values()) for parts in rounds], "s", GOAL_S))
    found += [entry(f"statesync.part.{part}.1e6", [parts[part] for parts in rounds], "s") for part in rounds[0]]
    found.append(entry("statesync.take.1e6", [taken], "s, half of them pauses"))
    found.append(entry("statesync.size.1e6", [size / 2**20], "MiB"))
    return found
