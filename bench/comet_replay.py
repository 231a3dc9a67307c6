"""Blocks executed again, as by a replica that follows from the first one, against the signatures of all cores.

Blocks of real messages are recorded once; a replica over a copy of the same populated state verifies each header,
checks signatures in as many workers as there are cores, executes, compares the root, and commits. The baseline is the
bare Ed25519 check of the same transactions in as many processes at once. Both are counted in signatures.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path
from typing import Any, Final

from bench._measure import Check, check_s, entry
from bench._network import CHAIN, START_S, Network, populate
from bench._rates import STREAMS
from bench._traffic import Traffic
from caremesh.consensus.embedded import Embedded
from caremesh.consensus.replica import Replica
from caremesh.contracts import Contracts
from caremesh.crypto.hashes import sha256
from caremesh.crypto.keys import SigningKey
from caremesh.ledger.blocks import Block, Validator

AREAS: Final = ("comet.replay",)
ROUNDS: Final = 3
TXS: Final = 6_000
CHECKS: Final = 4_000
"""Of each process, for the baseline."""
_NODE: Final = SigningKey.from_seed(sha256(b"node"))


def run() -> list[dict[str, Any]]:
    """Signatures a second in re-executed blocks against the rate of all cores, and transactions a second."""
    cores = os.cpu_count() or 1
    network, ratios, alone, rates, bare = Network(), [], [], [], []
    context = multiprocessing.get_context("forkserver")
    with (
        tempfile.TemporaryDirectory() as name,
        ProcessPoolExecutor(cores, mp_context=context) as pool,
    ):
        folder = Path(name)
        populate(folder / "state", CHAIN, network.genesis, network.rows(STREAMS["1e4"]))
        blocks, checks = _recorded(folder, network)
        for number in range(ROUNDS):
            gc.collect()
            before = _all_cores(pool, cores, checks[:CHECKS])
            taken = _again_s(folder, f"{number}", network, blocks, pool)
            by_one = _again_s(folder, f"{number} alone", network, blocks, None)
            bare.append((before + _all_cores(pool, cores, checks[-CHECKS:])) / 2)
            ratios.append(len(checks) / taken / bare[-1])
            alone.append(len(checks) / by_one / bare[-1])
            rates.append(TXS / taken)
    more: dict[str, Any] = {"baseline": round(sum(bare) / len(bare)), "better": "higher"}
    unit = f"of the signature rate of {cores} cores"
    return [
        entry("comet.replay", ratios, unit, 0.8, **more),
        entry("comet.replay.one-process", alone, unit, **more),
        entry("comet.replay.rate", rates, "transactions/s", **more),
    ]


def _recorded(folder: Path, network: Network) -> tuple[list[Block], list[Check]]:
    """Blocks of a working day, and every signature in them."""
    shutil.copytree(folder / "state", folder / "recorder")
    now = START_S
    made = Embedded(
        folder / "recorder",
        Contracts(),
        chain=CHAIN,
        genesis=network.genesis,
        genesis_time=START_S,
        key=_NODE,
        clock=lambda: now,
    )
    try:
        made.start()
        sent = Traffic(network, STREAMS["1e4"]).batch(TXS)
        for future in made.submit_many([signed.raw for signed in sent]):
            if future.result().result.code:
                raise RuntimeError(f"refused: {future.result().result}")
        return list(made.blocks(1)), [check for signed in sent for check in signed.checks]
    finally:
        made.close()


def _again_s(folder: Path, name: str, network: Network, blocks: list[Block], pool: Executor | None) -> float:
    """Seconds until a replica has executed all blocks and holds them durably."""
    shutil.copytree(folder / "state", folder / name)
    replica = Replica(
        folder / name,
        Contracts(),
        chain=CHAIN,
        genesis=network.genesis,
        genesis_time=START_S,
        validators=[Validator(_NODE.public, 1)],
        clock=lambda: START_S + 10,
        monotonic=time.monotonic,
        pool=pool,
    )
    try:
        start = time.perf_counter()
        for block in blocks:
            replica.apply(block)
        return time.perf_counter() - start
    finally:
        replica.close()


def _all_cores(pool: Executor, cores: int, checks: Sequence[Check]) -> float:
    """Bare checks a second of so many processes at once."""
    list(pool.map(check_s, [checks[:100]] * cores))
    start = time.perf_counter()
    list(pool.map(check_s, [checks] * cores))
    return cores * len(checks) / (time.perf_counter() - start)
