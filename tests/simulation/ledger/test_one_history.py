"""The same blocks give the same state, results, events and snapshot everywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from caremesh import codec
from caremesh.ledger.application import Params
from caremesh.ledger.machine import Machine
from caremesh.ledger.snapshot import export
from caremesh.ledger.store import Store
from tests.support.history import blocks
from tests.support.kv import CHAIN, GENESIS, MEMBER, START_S, Kv

ROOT = Path(__file__).parents[3]
LIMITS = Params(quota_messages=60, quota_window_s=300, kept_heights=8, retain_blocks=20)


def machine(folder: Path) -> Machine:
    folder.mkdir(exist_ok=True)
    made = Machine(Store(str(folder), CHAIN), Kv([MEMBER], LIMITS))
    made.start(START_S, GENESIS)
    return made


def run(folder: Path, seed: int, count: int, between: Callable[[Machine, int], Machine] = lambda made, _: made) -> str:
    """Execute a seeded history; a digest of everything that is to be equal."""
    made = machine(folder)
    digest = sha256()
    for height, (time, txs) in enumerate(blocks(seed, count), start=1):
        done = made.execute(height, time, txs)
        made.commit(done, block=b"", header=bytes(32))
        digest.update(done.app_hash + codec.encode(done.results))
        made = between(made, height)
    for frame in export(made.store):
        digest.update(frame)
    made.store.close()
    return digest.hexdigest()


@pytest.mark.promise("P7")
def test_restarts_and_repeated_execution_change_nothing(tmp_path: Path, seed: int, evidence: Any) -> None:
    def restart(made: Machine, height: int) -> Machine:
        if height % 3:
            return made
        made.execute(height + 1, made.head.time, [])
        made.store.close()
        evidence.fault("restart")
        return machine(tmp_path / "b")

    assert run(tmp_path / "a", seed, 30) == run(tmp_path / "b", seed, 30, restart)


@pytest.mark.promise("P7")
@pytest.mark.slow
def test_processes_with_other_hash_seeds_agree(tmp_path: Path, evidence: Any) -> None:
    digests = by_processes(tmp_path, ["1", "2", "77"], 40)
    evidence.fault("other hash seed", 3)
    assert len(digests) == 1


@pytest.mark.promise("P7")
@pytest.mark.long
@pytest.mark.timeout(3600)
def test_twenty_processes_with_other_hash_seeds_agree(tmp_path: Path, evidence: Any) -> None:
    digests = by_processes(tmp_path, [str(number) for number in range(1, 21)], 300)
    evidence.fault("other hash seed", 20)
    assert len(digests) == 1


def by_processes(folder: Path, hash_seeds: list[str], count: int) -> set[str]:
    code = (
        "import importlib.util, sys; from pathlib import Path\n"
        "spec = importlib.util.spec_from_file_location('one_history', sys.argv[1])\n"
        "module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module)\n"
        "print(module.run(Path(sys.argv[2]), 5, int(sys.argv[3])))\n"
    )
    found = set()
    for hash_seed in hash_seeds:
        done = subprocess.run(
            [sys.executable, "-c", code, __file__, str(folder / hash_seed), str(count)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            timeout=600,
            check=True,
        )
        found.add(done.stdout.strip())
    return found


def compare(folder: Path, seed: int, count: int, most: int) -> int:
    """Two replicas through generated transactions, compared at every block; how many there were."""
    one, two = machine(folder / "a"), machine(folder / "b")
    total = 0
    for height, (time, txs) in enumerate(blocks(seed, count, most), start=1):
        first, second = one.execute(height, time, txs), two.execute(height, time, txs)
        assert (first.app_hash, first.results) == (second.app_hash, second.results)
        one.commit(first, block=b"", header=bytes(32))
        two.commit(second, block=b"", header=bytes(32))
        total += len(txs)
    assert one.head.app_hash == two.head.app_hash
    one.store.close()
    two.store.close()
    return total


@pytest.mark.promise("P7")
@pytest.mark.slow
def test_ten_thousand_generated_transactions_through_two_replicas(tmp_path: Path) -> None:
    assert compare(tmp_path, 11, 205, 100) >= 10_000


@pytest.mark.promise("P7")
@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_million_generated_transactions_through_two_replicas(tmp_path: Path) -> None:
    assert compare(tmp_path, 12, 4_100, 500) >= 1_000_000


def test_only_what_is_to_be_kept_is_kept(tmp_path: Path) -> None:
    run(tmp_path / "a", 3, 25)
    made = machine(tmp_path / "a")
    with made.store.read() as read:
        assert read.first_height("undo") == 25 - 8 + 1
        assert read.first_height("results") == 25 - 20 + 1
    made.store.close()
