"""A machine without an engine: blocks made by hand, one call each."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from caremesh.ledger.machine import Executed, Machine
from caremesh.ledger.store import Store
from caremesh.ledger.trie import bucket_of, slot_of
from tests.support.kv import CHAIN, GENESIS, MEMBER, START_S, VALUES, Kv


def machine(folder: Path, app: Kv | None = None) -> Machine:
    """A machine over a folder, begun."""
    folder.mkdir(exist_ok=True)
    made = Machine(Store(str(folder), CHAIN), app or Kv([MEMBER]))
    made.start(START_S, GENESIS)
    return made


def block(ledger: Machine, *txs: bytes, time: int | None = None) -> Executed:
    """Execute and commit one block."""
    head = ledger.head
    done = ledger.execute(head.height + 1, head.time if time is None else time, list(txs))
    ledger.commit(done, block=b"block", header=bytes(32))
    return done


def codes(done: Executed) -> list[str]:
    """What became of each transaction of a block."""
    return [result.code for result in done.results.results]


def crowding_keys(candidates: int = 12_000) -> list[list[bytes]]:
    """Groups of three keys whose state keys lie in one bucket, two of one slot first where there are such."""
    by_bucket: dict[int, list[bytes]] = {}
    for number in range(candidates):
        key = b"%d" % number
        by_bucket.setdefault(bucket_of(_digest(key)), []).append(key)
    groups = [sorted(keys, key=lambda key: slot_of(_digest(key)))[:3] for keys in by_bucket.values() if len(keys) > 2]
    return sorted(groups, key=lambda keys: len({slot_of(_digest(key)) for key in keys}))


def _digest(key: bytes) -> bytes:
    return sha256(VALUES.key(key)).digest()
