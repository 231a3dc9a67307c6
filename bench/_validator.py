"""One member's validator as a process of its own, for benches: `python -m bench._validator PLAN`.

It says ``ready`` when it has begun, and what it came to once its input ends: see ``Told``.
"""

from __future__ import annotations

import resource
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Final

import msgspec

from bench._network import CHAIN
from caremesh.consensus.cometbft.config import Addresses
from caremesh.consensus.cometbft.engine import CometBft, Local
from caremesh.contracts import Contracts
from caremesh.crypto.keys import SigningKey
from caremesh.ledger.blocks import Validator
from caremesh.ledger.comet import address_of
from caremesh.node.process import spare_the_collector
from caremesh.types import Seconds
from tests.support.comet_network import node_key
from tools.cometbft import cometbft

POWER: Final = 10


class Plan(msgspec.Struct, frozen=True):
    """What a validator begins with. ``ports``: of all of them, by number; ``genesis``: the file with the document."""

    folder: str
    genesis: str
    genesis_time: Seconds
    number: int
    ports: list[int]


class Told(msgspec.Struct, frozen=True):
    """What it came to. ``cpu_s``: processor time of this process; ``refused``: how many transactions, by code."""

    cpu_s: float
    txs: int
    refused: dict[str, int]
    memory_kib: int


def voting_key(number: int) -> SigningKey:
    """With which a validator votes."""
    return SigningKey.from_seed(f"bench votes {number}".encode().ljust(32, b"."))


def engine(plan: Plan) -> CometBft:
    """The engine of this validator, not started."""
    return CometBft(
        Path(plan.folder),
        Contracts(),
        Local(cometbft(), voting_key(plan.number), node_key(plan.number), addresses(plan.ports, plan.number)),
        chain=CHAIN,
        genesis=Path(plan.genesis).read_bytes(),
        genesis_time=plan.genesis_time,
        validators=validators(len(plan.ports)),
        clock=lambda: int(time.time()),
        monotonic=time.monotonic,
    )


def validators(count: int) -> list[Validator]:
    """Those of the genesis."""
    return [Validator(voting_key(number).public, POWER) for number in range(count)]


def addresses(ports: list[int], number: int) -> Addresses:
    """Where one of them listens, and whom it knows: all others."""
    known = [
        f"{address_of(node_key(other).public).hex()}@127.0.0.1:{port}"
        for other, port in enumerate(ports)
        if other != number
    ]
    return Addresses(f"127.0.0.1:{ports[number]}", tuple(known), one_host=True)


def told(made: CometBft) -> Told:
    """What became of everything so far."""
    refused: Counter[str] = Counter()
    txs = 0
    for height in range(1, made.machine.head.height + 1):
        results = made.machine.results(height).results
        txs += len(results)
        refused.update(result.code for result in results if result.code)
    used = resource.getrusage(resource.RUSAGE_SELF)
    return Told(used.ru_utime + used.ru_stime, txs, dict(refused), used.ru_maxrss)


def main(plan: Path) -> None:
    """Order blocks until nothing more is to be read; a line is a question what became of everything."""
    spare_the_collector()
    made = engine(msgspec.json.decode(plan.read_bytes(), type=Plan))
    try:
        made.start()
        print("ready", flush=True)
        for _ in sys.stdin:
            print(msgspec.json.encode(told(made)).decode(), flush=True)
    finally:
        made.close(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
