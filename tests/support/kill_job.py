"""Hundreds of kills in batches: each on a fresh network, with a seed of its own, and with a result that is kept."""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from caremesh.consensus import kept
from caremesh.contracts import Contracts
from caremesh.ledger.blocks import Block
from caremesh.types import Height
from tests.support.apart import Apart, apart
from tests.support.comet_engine import short_folder
from tests.support.killing import BOTH, PARTS, PAUSE_S, Work, kill_at_random
from tools.cometbft import cometbft

EngineName: TypeAlias = Literal["embedded", "cometbft"]
VALIDATORS: Final = ("hospital", "laboratory", "payer", "regulator")
"""Who orders blocks where four do; the practice's node takes part without a vote."""
COMET_PAUSE_S: Final = 4.0
KILLS: Final = 500
A_BATCH: Final = 25
BESIDE: Final = 2


class Batch(Struct, frozen=True, kw_only=True):
    """What one batch was, and that it lost nothing. ``not_acknowledged``: what was answered by an error, by code;
    ``heights``: blocks, the same at all nodes, that were executed again to the same hashes."""

    engine: EngineName
    seed: int
    hosts: str
    killed: dict[str, int]
    acknowledged: dict[str, int]
    not_acknowledged: dict[str, int]
    heights: int
    seconds: float


def batch(engine: EngineName, seed: int, kills: int = A_BATCH) -> Batch:
    """Kill that many processes of a fresh network while work is done. Raises AssertionError when anything is lost."""
    ordered = {"cometbft": cometbft(), "validators": VALIDATORS} if engine == "cometbft" else {}
    with short_folder() as folder, apart(folder / "n", **ordered) as world:  # type: ignore[arg-type]
        return killed(world, engine, seed, kills)


def killed(world: Apart, engine: EngineName, seed: int, kills: int, pause_s: float | None = None) -> Batch:
    """The same, of a network that runs. ``pause_s``: the longest between two kills."""
    begun = time.monotonic()
    dice = random.Random(seed)  # noqa: S311 - it chooses what dies
    parts, longest_s = (BOTH, COMET_PAUSE_S) if engine == "cometbft" else (PARTS, PAUSE_S)
    world.well()
    work = Work(world, random.Random(seed + 1), BESIDE)  # noqa: S311 - it chooses what is done
    work.round()
    with work:
        count = kill_at_random(world, dice, kills, parts, longest_s if pause_s is None else pause_s)
    world.wait_ready()
    work.round()
    work.check()
    told = {
        "imported records": len(work.imported),
        "transactions": len(work.transactions),
        "receipts": len(work.receipts),
        "visits": len(work.opened),
        "shares": len(work.shares),
        "revocations": len(work.revoked),
    }
    return Batch(
        engine=engine,
        seed=seed,
        hosts=world.hosts.kind,
        killed=dict(sorted(count.items())),
        acknowledged=told,
        not_acknowledged=dict(sorted(work.failed.items())),
        heights=alike(world),
        seconds=round(time.monotonic() - begun, 1),
    )


def alike(world: Apart) -> Height:
    """How many blocks there are: all nodes have the same, and a replica that begins anew comes to the same roots."""
    until, _ = world.one_history()
    copies = {name: _blocks(world, name, until) for name in world.names}
    [first, *others] = copies.values()
    assert [len(first), *map(len, others)] == [until] * len(copies)
    assert all(other == first for other in others), "the same height is not the same block everywhere"
    founding = world.network.founding
    with tempfile.TemporaryDirectory(prefix="cm-") as folder:
        machine = kept.open_machine(
            Path(folder), Contracts(), chain=founding.chain, genesis=founding.genesis, genesis_time=founding.time
        )
        try:
            for block in first:
                header = block.signed.own()
                done = machine.execute(header.height, header.time, block.txs, block.misbehaviour)
                assert done.app_hash == header.app_hash, header.height
                machine.commit(done, block=b"", header=bytes(32))
        finally:
            machine.store.close()
    return until


def _blocks(world: Apart, name: str, until: Height) -> list[Block]:
    found: list[Block] = []
    while len(found) < until:
        more = world.ledger(name).blocks(len(found) + 1, 0)
        assert more, f"{name} keeps no block {len(found) + 1}"
        found += more
    return found[:until]
