"""Either process of a member that runs CometBFT is killed at seeded moments, while transactions come: what was
acknowledged stays, what was not is in a block once or in none, and all of it is what another replica executes."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from caremesh.consensus import kept
from caremesh.consensus.cometbft.engine import STATE
from caremesh.ledger.machine import Machine
from caremesh.ledger.snapshot import export
from caremesh.ledger.transactions import TransactionCodec
from tests.conftest import Evidence
from tests.support.comet_engine import PATIENT_S, genesis_of, now, short_folder, signed
from tests.support.comet_member import Member, is_gone, member
from tests.support.kv import CHAIN, MEMBER, Append, Kv, Put, Refuse
from tools.cometbft import cometbft

# CometBFT is built by whichever test asks first: a minute of processor time, once for each machine.
pytestmark = pytest.mark.timeout(900)

CODEC = TransactionCodec(Kv.messages)
KILLS = 2
STREAM = 30


def some(dice: random.Random, number: int) -> bytes:
    return signed(
        dice.choice([Put(key=b"%d" % (number % 7), value=b"%d" % number), Append(owner=b"o", item=b"%d" % number)]),
        *([Refuse(key=b"r")] if dice.random() < 0.1 else []),
    )


def opened(folder: Path, begun: int) -> Machine:
    return kept.open_machine(folder, Kv([MEMBER]), chain=CHAIN, genesis=genesis_of(begun), genesis_time=begun)


def until_told(running: Member, ids: set[str]) -> None:
    """Wait until all of these have been answered."""
    until = time.monotonic() + PATIENT_S
    while not ids <= running.told.keys():
        assert time.monotonic() < until, "nobody answers"
        time.sleep(0.02)


@pytest.mark.promise("P5")
@pytest.mark.slow
def test_what_was_acknowledged_survives_either_process(seed: int, tmp_path: Path, evidence: Evidence) -> None:
    dice = random.Random(seed)  # noqa: S311 - a seed must replay
    cometbft()  # before anybody waits for it
    begun = now()
    with short_folder() as folder:
        sent: dict[str, bytes] = {}
        acknowledged: dict[str, str] = {}
        for kill in range(KILLS):
            victim = ("application", "CometBFT")[(seed + kill) % 2]
            with member(folder, begun) as running:
                other = running.cometbft()
                assert other
                for number in range(STREAM):
                    raw = some(dice, len(sent))
                    sent[bytes(CODEC.decode(raw).id).hex()] = raw
                    running.send(raw)
                    if number == STREAM // 2:
                        time.sleep(dice.random() / 2)
                        if victim == "CometBFT":
                            os.kill(other, signal.SIGKILL)
                        else:
                            running.kill()
                        evidence.fault(f"{victim} killed")
                if victim == "CometBFT":
                    until_told(running, set(list(sent)[-STREAM:]))
                    assert running.end() == 0
            assert is_gone(other), "CometBFT outlived its application"
            in_blocks = {tx_id: code for tx_id, code in running.told.items() if not code.startswith("consensus.")}
            acknowledged.update(in_blocks)
        with member(folder, begun) as running:
            for raw in sent.values():
                running.send(raw)
            until_told(running, set(sent))
            for tx_id, code in acknowledged.items():
                assert running.told[tx_id] in ("ledger.09", code), "acknowledged, and gone"
            assert running.end() == 0
        machine, copy = opened(folder / STATE, begun), opened(tmp_path, begun)
        try:
            held = [tx for block in kept.blocks_from(machine, 1) for tx in block.txs]
            assert sorted(held) == sorted(sent.values()), "each is in one block"
            for block in kept.blocks_from(machine, 1):
                header = block.signed.own()
                done = copy.execute(header.height, header.time, block.txs)
                assert done.app_hash == header.app_hash
                copy.commit(done, block=b"", header=bytes(32))
            assert copy.head.app_hash == machine.head.app_hash
            assert list(export(copy.store))[1:] == list(export(machine.store))[1:]
        finally:
            machine.store.close()
            copy.store.close()
