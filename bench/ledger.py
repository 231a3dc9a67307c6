"""The kernel: committed transactions, proofs and restarts, at ten thousand and at a million keys.

The application is the small one of the tests (`tests/support/kv.py`), so what is measured is the kernel: decoding,
signatures, execution, the authenticated map, and one durable commit for each block of 500.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from caremesh import codec
from caremesh.consensus.embedded import Embedded
from caremesh.crypto import signatures
from caremesh.ledger import history
from caremesh.ledger.application import Params
from caremesh.ledger.proofs import size_bytes
from caremesh.ledger.store import Head, Store
from caremesh.ledger.trie import AuthenticatedMap, leaf_hash
from tests.support.kv import CHAIN, GENESIS, MEMBER, START_S, VALUES, Kv, Put, engine, transaction

SIZES: Final = {"1e4": 10_000, "1e6": 1_000_000}
ROUNDS: Final = 5
ROUND_TXS: Final = 2_000
BLOCK_TXS: Final = 500
PROOFS: Final = 300
LIMITS: Final = Params(quota_messages=10**9, max_block_bytes=2**24)


def bare_rate() -> float:
    """Ed25519 verifications a second of one core, over messages as long as a transaction's."""
    message = os.urandom(260)
    signature = MEMBER.sign(message)
    start = time.perf_counter()
    for _ in range(ROUND_TXS):
        signatures.verify(MEMBER.public, message, signature)
    return ROUND_TXS / (time.perf_counter() - start)


def populate(folder: Path, keys: int) -> None:
    """A ledger whose state has so many keys, written as a snapshot is restored."""
    folder.mkdir()
    log, _ = history.append(history.frontier({}), [])
    rows = [(VALUES.key(b"%d" % number), codec.encode(b"%064d" % number)) for number in range(keys)]
    rows += [(VALUES.key(b"genesis"), codec.encode(GENESIS)), (history.STATE_KEY, codec.encode(log))]
    by_digest = sorted((sha256(key).digest(), key, value) for key, value in rows)
    tree = AuthenticatedMap()
    tree.load((digest, leaf_hash(digest, sha256(value).digest())) for digest, _, value in by_digest)
    store = Store(str(folder), CHAIN)
    store.begin_restore(CHAIN)
    for at in range(0, len(by_digest), 50_000):
        store.restore_records([(key, value) for _, key, value in by_digest[at : at + 50_000]])
    head = Head(CHAIN, 0, START_S, tree.root, bytes(32))
    store.finish_restore(head, sha256(GENESIS).digest(), [])
    store.close()


def opened(folder: Path, pool: Executor | None = None) -> Embedded:
    """The engine over a folder."""
    return engine(folder, Kv([MEMBER], LIMITS), max_block_txs=BLOCK_TXS, pool=pool)


def transactions() -> list[bytes]:
    """One round of signed transactions, each of which sets one new key."""
    return [transaction(Put(key=os.urandom(8), value=os.urandom(64))) for _ in range(ROUND_TXS)]


def committed_rate(made: Embedded) -> float:
    """Transactions a second, from signed bytes to durable blocks."""
    txs = transactions()
    start = time.perf_counter()
    futures = [future for at in range(0, len(txs), BLOCK_TXS) for future in made.submit_many(txs[at : at + BLOCK_TXS])]
    for future in futures:
        future.result()
    return ROUND_TXS / (time.perf_counter() - start)


def application_cost(made: Embedded) -> float:
    """CPU seconds of one transaction: decoded, verified, executed, committed."""
    txs = transactions()
    start = time.process_time()
    for future in made.submit_many(txs):
        future.result()
    return (time.process_time() - start) / ROUND_TXS


def microseconds(what: Callable[[int], object]) -> list[float]:
    """How long each of many calls takes."""
    found = []
    for number in range(PROOFS):
        start = time.perf_counter()
        what(number)
        found.append((time.perf_counter() - start) * 1e6)
    return found


def entry(name: str, values: list[float], unit: str, goal: float | None, better: str, **more: Any) -> dict[str, Any]:
    """One result: the median of its samples."""
    value = round(statistics.median(values), 4)
    samples = [round(sample, 4) for sample in values[:20]]
    return {"id": name, "value": value, "unit": unit, "goal": goal, "better": better, "samples": samples, **more}


def throughput(made: Embedded, size: str, name: str, goal: float) -> list[dict[str, Any]]:
    """Committed transactions against the bare rate, each round next to its own baseline."""
    bare, rates = [], []
    made.start()
    for _ in range(ROUNDS):
        gc.collect()
        bare.append(bare_rate())
        rates.append(committed_rate(made))
    baseline = {"baseline": round(statistics.median(bare))}
    ratios = [rate / base for rate, base in zip(rates, bare, strict=True)]
    return [
        entry(f"ledger.{name}.{size}", ratios, "of the bare Ed25519 rate", goal, "higher", **baseline),
        entry(f"ledger.{name}.{size}.rate", rates, "transactions/s", None, "higher", **baseline),
    ]


def proofs(made: Embedded, size: str) -> list[dict[str, Any]]:
    """Proofs of keys that are there and of keys that are not."""
    keys = [VALUES.key(b"%d" % number if number % 2 else b"absent %d" % number) for number in range(PROOFS)]
    app_hash = made.status().app_hash
    found = [made.machine.prove(key)[1] for key in keys]
    return [
        entry(f"ledger.proof.make.{size}", microseconds(lambda n: made.machine.prove(keys[n])), "µs", 100, "lower"),
        entry(
            f"ledger.proof.verify.{size}", microseconds(lambda n: found[n].verify(app_hash, keys[n])), "µs", 50, "lower"
        ),
        entry(f"ledger.proof.size.{size}", [float(size_bytes(proof)) for proof in found], "bytes", 2_048, "lower"),
    ]


def run() -> list[dict[str, Any]]:
    """All results of the area."""
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        for size, keys in SIZES.items():
            folder = Path(name) / size
            populate(folder, keys)
            start = time.perf_counter()
            made = opened(folder)
            restart = time.perf_counter() - start
            found.append(entry(f"ledger.restart.{size}", [restart], "s", 5, "lower"))
            bare = [1 / bare_rate() for _ in range(3)]
            costs = [application_cost(made) / statistics.median(bare) for _ in range(3)]
            baseline = {"baseline": round(1 / statistics.median(bare))}
            found.append(entry(f"ledger.cost.kv.{size}", costs, "bare Ed25519 checks", 2, "lower", **baseline))
            found += throughput(made, size, "embedded.kv", 0.5)
            found += proofs(made, size)
            made.close()
            context = multiprocessing.get_context("forkserver")
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                pool.submit(len, "").result()
                made = opened(folder, pool)
                found += throughput(made, size, "embedded.kv.worker", 0.5)
                made.close()
    return found
