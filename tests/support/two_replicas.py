"""The same blocks in two replicas that come to them by different ways, compared byte for byte.

One makes the blocks: it executes what has been decoded before, as an engine does that verified at submission, and
commits at once. The other follows: blocks reach it late and in batches, as bytes; it decodes, verifies and executes
them again. Both are closed and opened from disk now and then.
"""

from __future__ import annotations

import random
from collections import deque
from hashlib import sha256
from pathlib import Path

from caremesh import codec
from caremesh.consensus import kept
from caremesh.consensus.replica import Replica
from caremesh.contracts import Contracts
from caremesh.crypto.keys import SigningKey
from caremesh.errors import CareMeshError
from caremesh.ledger.blocks import (
    HEADER_DOMAIN,
    Block,
    Header,
    HeaderSignature,
    SignedHeader,
    Validator,
    header_hash,
    txs_root,
    validators_hash,
)
from caremesh.ledger.execution import Results
from caremesh.ledger.machine import Machine
from caremesh.ledger.snapshot import export
from caremesh.ledger.transactions import CheckedTx
from tests.support.participants import CHAIN, START_S
from tests.support.traffic import Traffic, rules

NODE = SigningKey.from_seed(b"node".ljust(32, b"."))
VALIDATORS = [Validator(NODE.public, 1)]
FAR = START_S + 10**9


class Maker:
    """Makes blocks of whatever it is given, as a careless or malicious proposer might."""

    def __init__(self, folder: Path, genesis: bytes, app: Contracts | None = None) -> None:
        self._folder, self._genesis, self._app = folder, genesis, app or rules()
        self.machine = self._open()

    def _open(self) -> Machine:
        return kept.open_machine(self._folder, self._app, chain=CHAIN, genesis=self._genesis, genesis_time=START_S)

    def reopen(self) -> None:
        """Forget all that is in memory."""
        self.machine.store.close()
        self.machine = self._open()

    def block(self, time: int, txs: list[bytes]) -> tuple[Block, Results]:
        """Execute, sign, commit."""
        head = self.machine.head
        done = self.machine.execute(head.height + 1, time, [self._checked(raw) for raw in txs])
        named = validators_hash(VALIDATORS)
        header = codec.encode(Header(CHAIN, done.height, time, head.header, txs_root(txs), done.app_hash, named, named))
        signature = HeaderSignature(NODE.public, NODE.sign(HEADER_DOMAIN + header))
        made = Block(SignedHeader(header, [signature]), txs)
        self.machine.commit(done, block=codec.encode(made), header=header_hash(header))
        return made, done.results

    def _checked(self, raw: bytes) -> bytes | CheckedTx:
        try:
            self.machine.codec.decode(raw)
        except CareMeshError:
            return raw
        return self.machine.codec.decode_again(raw)


def follower(folder: Path, genesis: bytes) -> Replica:
    """A replica that trusts the maker's headers and nothing else."""
    return Replica(
        folder,
        rules(),
        chain=CHAIN,
        genesis=genesis,
        genesis_time=START_S,
        validators=VALIDATORS,
        clock=lambda: FAR,
        monotonic=lambda: 0.0,
    )


def compare(folder: Path, seed: int, count: int, most: int, restarts: float = 0.05) -> Traffic:
    """Take generated traffic of at least ``count`` transactions through both; every difference raises."""
    rng = random.Random(seed + 1)  # noqa: S311 - a seed must replay
    traffic = Traffic(seed)
    genesis = traffic.all.genesis()
    maker, copy = Maker(folder / "maker", genesis), follower(folder / "copy", genesis)
    waiting: deque[tuple[bytes, Results]] = deque()
    sent = 0
    while sent < count:
        time, txs = traffic.block(maker.machine.reader(), maker.machine.head.height + 1, most)
        block, results = maker.block(time, txs)
        traffic.heard(results)
        sent += len(txs)
        waiting.append((codec.encode(block), results))
        if rng.random() < restarts:
            maker.reopen()
            traffic.restarts += 1
        if rng.random() < restarts:
            traffic.restarts += 1
            copy.close()
            copy = follower(folder / "copy", genesis)
        if rng.random() < 0.3 or sent >= count:
            _catch_up(copy, waiting)
    assert copy.machine.head == maker.machine.head
    maker.machine.store.close()
    copy.close()
    return traffic


def _catch_up(copy: Replica, waiting: deque[tuple[bytes, Results]]) -> None:
    while waiting:
        data, results = waiting.popleft()
        copy.apply(codec.decode_as(data, Block))  # app hashes are compared there
        again = copy.machine.results(copy.height())
        assert codec.encode(again) == codec.encode(results), f"height {copy.height()}"


def digest(folder: Path, seed: int, count: int, most: int = 40) -> str:
    """One replica through generated traffic: a hash over every app hash, result and event, and over the snapshot."""
    traffic = Traffic(seed)
    maker = Maker(folder, traffic.all.genesis())
    found, sent = sha256(), 0
    while sent < count:
        time, txs = traffic.block(maker.machine.reader(), maker.machine.head.height + 1, most)
        _, results = maker.block(time, txs)
        traffic.heard(results)
        found.update(maker.machine.head.app_hash + codec.encode(results))
        sent += len(txs)
    for frame in export(maker.machine.store):
        found.update(frame)
    maker.machine.store.close()
    return found.hexdigest()
