"""The ledger at work: real messages through the real contracts, at ten thousand and at a million keys.

The network and its mix of messages are in `_network.py` and `_traffic.py`. Baseline of every ratio is the bare Ed25519
check of one core, measured in the same run, before and after each round, over the same transactions' signatures.
A transaction holds 1.6 signatures on average, so a ratio by transaction charges the ledger for more than one check;
ratios *by signature* do not. The state grows by about five keys a transaction: 10⁴ keys are some 10⁵ at the end.
"""

from __future__ import annotations

import gc
import multiprocessing
import statistics
import tempfile
import time
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final

from bench._measure import check_s, entry, growth, micros
from bench._network import CHAIN, START_S, Network, populate
from bench._traffic import Signed, Traffic
from caremesh.consensus.embedded import Embedded
from caremesh.contracts import Contracts
from caremesh.contracts.consent.queries import consent_key
from caremesh.crypto import signatures
from caremesh.crypto.hashes import sha256
from caremesh.crypto.keys import SigningKey
from caremesh.ledger.admission import Admission
from caremesh.ledger.authenticated_map import AuthenticatedMap, Change
from caremesh.ledger.execution import Execution
from caremesh.ledger.proofs import size_bytes
from caremesh.ledger.replays import Replays
from caremesh.ledger.trie import leaf_hash

SIZES: Final = {"1e4": 490, "1e6": 50_000}
"""How many streams make so many keys."""
ROUNDS: Final = 5
ROUND_TXS: Final = 1_000
PROOFS: Final = 300
REQUESTS: Final = 1_000
_NODE: Final = SigningKey.from_seed(sha256(b"node"))
_BARE: Final = "of the bare Ed25519 rate"


class Clock:
    """Ten seconds later with every round."""

    def __init__(self) -> None:
        self.now = START_S

    def __call__(self) -> int:
        return self.now


class Bench:
    """A populated ledger, opened, and what is sent to it."""

    def __init__(self, folder: Path, network: Network, traffic: Traffic, pool: Executor | None = None) -> None:
        self.clock = Clock()
        start = time.perf_counter()
        self.engine = Embedded(
            folder,
            Contracts(),
            chain=CHAIN,
            genesis=network.genesis,
            genesis_time=START_S,
            key=_NODE,
            clock=self.clock,
            pool=pool,
        )
        self.opened_s = time.perf_counter() - start
        self.traffic = traffic

    def commit(self, batch: list[Signed]) -> None:
        """From signed bytes to durable blocks; every transaction takes effect, or the bench is wrong."""
        self.clock.now += 10
        for future in self.engine.submit_many([signed.raw for signed in batch]):
            result = future.result().result
            if result.code:
                raise RuntimeError(f"refused: {result}")

    def throughput(self, name: str, size: str, rounds: int = ROUNDS, factor: int = 1) -> list[dict[str, Any]]:
        """Committed transactions against the bare rate, by transaction and by signature."""
        self.engine.start()
        bare, rates, ratios, by_signature = [], [], [], []
        for _ in range(rounds):
            batch = self.traffic.batch(ROUND_TXS * factor)
            checks = [check for signed in batch for check in signed.checks]
            gc.collect()
            before = check_s(checks[:ROUND_TXS])
            start = time.perf_counter()
            self.commit(batch)
            taken = (time.perf_counter() - start) / len(batch)
            bare.append((before + check_s(checks[-ROUND_TXS:])) / 2)
            rates.append(1 / taken)
            ratios.append(bare[-1] / taken)
            by_signature.append(ratios[-1] * len(checks) / len(batch))
        more: dict[str, Any] = {"baseline": round(1 / statistics.median(bare)), "better": "higher"}
        name = f"ledger.embedded.{name}"
        return [
            entry(f"{name}.{size}", ratios, _BARE, 0.5, **more),
            entry(f"{name}.by-signature.{size}", by_signature, _BARE, **more),
            entry(f"{name}.rate.{size}", rates, "transactions/s", **more),
        ]

    def cost(self, size: str) -> list[dict[str, Any]]:
        """CPU time of a transaction, all in one process, against the bare checks of its signatures."""
        costs, by_one, bare = [], [], []
        for _ in range(ROUNDS):
            batch = self.traffic.batch(ROUND_TXS)
            checks = [check for signed in batch for check in signed.checks]
            gc.collect()
            before = check_s(checks[:ROUND_TXS], time.process_time)
            start = time.process_time()
            self.commit(batch)
            taken = (time.process_time() - start) / len(batch)
            bare.append((before + check_s(checks[-ROUND_TXS:], time.process_time)) / 2)
            by_one.append(taken / bare[-1])
            costs.append(by_one[-1] * len(batch) / len(checks))
        baseline = round(statistics.median(bare) * 1e6, 2)
        return [
            entry(f"ledger.cost.{size}", costs, "× the bare checks of its signatures", 2, baseline=baseline),
            entry(f"ledger.cost.one-check.{size}", by_one, "× one bare check", baseline=baseline),
        ]

    def sections(self, size: str) -> list[dict[str, Any]]:
        """Where the CPU time of a transaction goes, in bare checks; without futures and queue."""
        machine, clock = self.engine.machine, time.process_time
        names = ("decoding", "signatures", "admission", "execution", "map", "commit")
        found: dict[str, list[float]] = {name: [] for name in names}
        state = AuthenticatedMap()
        with machine.store.read() as read:
            state.load(read.leaves())
        bare = []
        for _ in range(ROUNDS):
            batch = self.traffic.batch(ROUND_TXS)
            gc.collect()
            bare.append(check_s([signed.checks[0] for signed in batch], clock))
            at = [clock()]
            read_now = [machine.codec.read(signed.raw)[0] for signed in batch]
            at.append(clock())
            for signed in batch:
                for check in signed.checks[: len(signed.checks) - signed.permits]:
                    signatures.verify(*check)
            at.append(clock())
            for checked in read_now:
                machine.check(checked, self.clock.now)
            at.append(clock())
            with machine.store.read() as read:
                run = self._execution(read, machine.head.height + 1)
                for checked in read_now:
                    run.apply(checked)
                run.finish()
                at.append(clock())
                changes = run.view.changes()
                leaves = [_leaf_change(key, now) for key, _, now in changes]
                there = {leaf[0] for leaf, (_, before, _) in zip(leaves, changes, strict=True) if before is not None}
                staged = state.stage(leaves, read.slot, there)
            state.apply(staged)
            at.append(clock())
            done = machine.execute(machine.head.height + 1, self.clock.now, read_now)
            start = clock()
            machine.commit(done, block=b"".join(signed.raw for signed in batch), header=bytes(32))
            at.append(at[-1] + clock() - start)
            for name, begun, ended in zip(names, at, at[1:], strict=False):
                found[name].append((ended - begun) / len(batch) / bare[-1])
        baseline = round(statistics.median(bare) * 1e6, 2)
        return [
            entry(f"ledger.time.{name}.{size}", found[name], "bare checks", None, baseline=baseline) for name in names
        ]

    def decisions(self, size: str) -> list[dict[str, Any]]:
        """A practitioner's request: sponsor, consent, appointment, regulations, receipt; wall and CPU time of each."""
        machine = self.engine.machine
        requests = [machine.codec.decode(signed.raw) for signed in self.traffic.requests(2 * REQUESTS)]
        gc.collect()
        with machine.store.read() as read:
            run = self._execution(read, machine.head.height + 1)
            wall = sorted(micros([partial(run.apply, each) for each in requests[:REQUESTS]]))
            own = sorted(micros([partial(run.apply, each) for each in requests[REQUESTS:]], time.thread_time))
        name, last = "ledger.access.decision", -REQUESTS // 100
        return [
            entry(f"{name}.p50.{size}", wall, "µs"),
            entry(f"{name}.p99.{size}", wall[last:], "µs", 1_000, value=wall[last]),
            entry(f"{name}.cpu.p99.{size}", own[last:], "µs of CPU time", 1_000, value=own[last]),
        ]

    def proofs(self, size: str) -> list[dict[str, Any]]:
        """Proofs of consents that are there and of keys that are not."""
        there = [consent_key(each) for each in self.traffic.consents(PROOFS // 2)]
        keys = there + [consent_key(sha256(key)) for key in there]
        machine, app_hash = self.engine.machine, self.engine.status().app_hash
        found = [machine.prove(key)[1] for key in keys]
        made = micros([partial(machine.prove, key) for key in keys])
        verified = micros([partial(proof.verify, app_hash, key) for key, proof in zip(keys, found, strict=True)])
        sizes = [float(size_bytes(proof)) for proof in found]
        return [
            entry(f"ledger.proof.make.{size}", made, "µs", 100),
            entry(f"ledger.proof.verify.{size}", verified, "µs", 50),
            entry(f"ledger.proof.size.{size}", sizes, "bytes", 2_048),
            entry(f"ledger.proof.size.largest.{size}", [max(sizes)], "bytes", 2_048),
        ]

    def _execution(self, read: Any, height: int) -> Execution:
        app, machine = Contracts(), self.engine.machine
        kernel = Admission(CHAIN, app)
        return Execution(app, machine.codec, kernel, Replays(), committed=read, height=height, time=self.clock.now)


def _leaf_change(key: bytes, value: bytes | None) -> Change:
    digest = sha256(key)
    return digest, None if value is None else leaf_hash(digest, sha256(value))


def run() -> list[dict[str, Any]]:
    """All results of the area."""
    found: list[dict[str, Any]] = []
    network = Network()
    with (
        tempfile.TemporaryDirectory() as name,
        ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("forkserver")) as worker,
    ):
        worker.submit(len, "").result()
        for size, streams in SIZES.items():
            folder = Path(name) / size
            populate(folder, CHAIN, network.genesis, network.rows(streams))
            traffic = Traffic(network, streams)
            bench = Bench(folder, network, traffic)
            found.append(entry(f"ledger.restart.{size}", [bench.opened_s], "s", 5))
            found += bench.proofs(size) + bench.decisions(size)
            found += bench.cost(size) + bench.sections(size)
            found += bench.throughput("mixed", size)
            bench.engine.close()
            found += _with_worker(folder, network, traffic, worker, size)
    return found + growth(found, "1e4", "1e6")


def _with_worker(folder: Path, network: Network, traffic: Traffic, worker: Executor, size: str) -> list[dict[str, Any]]:
    """The same with a process beside this one that checks signatures, and rounds of four blocks to keep both busy."""
    bench = Bench(folder, network, traffic, worker)
    found = bench.throughput("mixed.worker", size, rounds=3, factor=4)
    bench.engine.close()
    return found
