"""Traffic over all contracts: nothing but refusals comes out of a handler, and replicas never differ."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

from caremesh.contracts import Contracts
from tests.support.two_replicas import compare

ROOT = Path(__file__).parents[3]
SHARD = 50_000


@pytest.mark.promise("P7")
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_thousand_transactions_over_all_contracts(tmp_path: Path, evidence: Any) -> None:
    traffic = compare(tmp_path, 4, 10_000, 100)
    evidence.seed(4)
    evidence.fault("restart of a replica", traffic.restarts)
    evidence.fault("transaction refused", sum(count for code, count in traffic.codes.items() if code))
    tags = {kind.__struct_config__.tag for kind in get_args(Contracts.messages)}
    assert tags - traffic.accepted.keys() == set()
    assert traffic.codes[""] > 3_000
    assert len(traffic.codes) > 110


@pytest.mark.promise("P7")
@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("shard", range(20))
def test_a_million_transactions_over_all_contracts(tmp_path: Path, shard: int, evidence: Any) -> None:
    traffic = compare(tmp_path, 1_000 + shard, SHARD, 250)
    evidence.seed(1_000 + shard)
    evidence.fault("restart of a replica", traffic.restarts)
    assert sum(traffic.codes.values()) >= SHARD


def by_processes(folder: Path, hash_seeds: list[int], count: int) -> set[str]:
    code = (
        "import sys; from pathlib import Path; from tests.support.two_replicas import digest\n"
        "print(digest(Path(sys.argv[1]), 3, int(sys.argv[2])))\n"
    )
    found = set()
    for hash_seed in hash_seeds:
        done = subprocess.run(
            [sys.executable, "-c", code, str(folder / str(hash_seed)), str(count)],
            cwd=ROOT,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
                "PYTHONHASHSEED": str(hash_seed),
            },
            capture_output=True,
            text=True,
            timeout=600,
            check=True,
        )
        found.add(done.stdout.strip())
    return found


@pytest.mark.promise("P7")
@pytest.mark.slow
def test_processes_with_other_hash_seeds_give_the_same_receipts(tmp_path: Path, evidence: Any) -> None:
    digests = by_processes(tmp_path, [1, 77], 500)
    evidence.fault("other hash seed", 2)
    assert len(digests) == 1


@pytest.mark.promise("P7")
@pytest.mark.long
@pytest.mark.timeout(3600)
def test_twenty_processes_with_other_hash_seeds_give_the_same_receipts(tmp_path: Path, evidence: Any) -> None:
    digests = by_processes(tmp_path, list(range(1, 21)), 3_000)
    evidence.fault("other hash seed", 20)
    assert len(digests) == 1
