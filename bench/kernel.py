"""The kernel without contracts: committed transactions of the tests' small application (`tests/support/kv.py`).

One new key and one signature a transaction, so the difference to ``ledger.embedded.mixed`` is what real messages cost.
"""

from __future__ import annotations

import gc
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from bench._measure import check_s, entry, growth
from bench._network import populate
from caremesh import codec
from caremesh.consensus.embedded import Embedded
from caremesh.ledger import history
from caremesh.ledger.application import Params
from tests.support.kv import CHAIN, GENESIS, MEMBER, VALUES, Kv, Put, engine, transaction

AREAS: Final = ("ledger",)
SIZES: Final = {"1e4": 10_000, "1e6": 1_000_000}
ROUNDS: Final = 5
ROUND_TXS: Final = 2_000
LIMITS: Final = Params(quota_messages=10**9)


def _rows(keys: int) -> list[tuple[bytes, bytes]]:
    log, _ = history.append(history.frontier({}), [])
    rows = [(VALUES.key(b"%d" % number), codec.encode(b"%064d" % number)) for number in range(keys)]
    return [*rows, (VALUES.key(b"genesis"), codec.encode(GENESIS)), (history.STATE_KEY, codec.encode(log))]


def _bare_s() -> float:
    message = os.urandom(260)
    return check_s([(MEMBER.public, message, MEMBER.sign(message))] * ROUND_TXS)


def _committed_s(made: Embedded) -> float:
    """Seconds a transaction, from signed bytes to durable blocks."""
    txs = [transaction(Put(key=os.urandom(8), value=os.urandom(64))) for _ in range(ROUND_TXS)]
    start = time.perf_counter()
    for future in made.submit_many(txs):
        future.result()
    return (time.perf_counter() - start) / ROUND_TXS


def run() -> list[dict[str, Any]]:
    """Committed transactions a second against the bare rate, each round beside its own baseline."""
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        for size, keys in SIZES.items():
            folder = Path(name) / size
            populate(folder, CHAIN, GENESIS, _rows(keys))
            made = engine(folder, Kv([MEMBER], LIMITS))
            made.start()
            bare, ratios = [], []
            for _ in range(ROUNDS):
                gc.collect()
                before = _bare_s()
                committed = _committed_s(made)
                bare.append((before + _bare_s()) / 2)
                ratios.append(bare[-1] / committed)
            made.close()
            baseline = round(1 / statistics.median(bare))
            unit = "of the bare Ed25519 rate"
            found.append(entry(f"ledger.kernel.{size}", ratios, unit, better="higher", baseline=baseline))
    return found + growth(found, "1e4", "1e6")
