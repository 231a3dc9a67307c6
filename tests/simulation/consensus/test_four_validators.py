"""Four validators on one machine: one history, headers that most have signed; three go on without the fourth."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from caremesh.consensus.cometbft.config import Addresses, Pace
from caremesh.consensus.cometbft.engine import CometBft, Local
from caremesh.crypto.keys import SigningKey
from caremesh.ledger.blocks import Validator
from caremesh.ledger.comet import address_of
from caremesh.ledger.light import LightClient, check_answer
from tests.support.comet_engine import PATIENT_S, genesis_of, now, short_folder, signed
from tests.support.kv import CHAIN, MEMBER, VALUES, Kv, Put
from tools.cometbft import cometbft

# CometBFT is built by whichever test asks first: a minute of processor time, once for each machine.
pytestmark = pytest.mark.timeout(900)

COUNT = 4


def key(kind: str, number: int) -> SigningKey:
    return SigningKey.from_seed(f"{kind}{number}".encode().ljust(32, b"."))


VALIDATORS = [Validator(key("validator", number).public, 10) for number in range(COUNT)]


def free_ports() -> list[int]:
    """Ports that nobody listens on, below those that the system gives away."""
    found: list[int] = []
    candidate = 22_000 + os.getpid() % 1_000 * 8
    while len(found) < COUNT:
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", candidate)):
            found.append(candidate)
        candidate += 1
    return found


@contextlib.contextmanager
def network(folder: Path, begun: int) -> Iterator[list[CometBft]]:
    ports = free_ports()
    peers = [f"{address_of(key('node', number).public).hex()}@127.0.0.1:{port}" for number, port in enumerate(ports)]
    with contextlib.ExitStack() as closing:
        engines = []
        for number, port in enumerate(ports):
            others = tuple(peer for other, peer in enumerate(peers) if other != number)
            local = Local(
                cometbft(),
                key("validator", number),
                key("node", number),
                Addresses(f"127.0.0.1:{port}", others, one_host=True),
                Pace(commit_s=0.2, idle_s=2),
            )
            engine = CometBft(
                folder / str(number),
                Kv([MEMBER]),
                local,
                chain=CHAIN,
                genesis=genesis_of(begun),
                genesis_time=begun,
                validators=VALIDATORS,
                clock=now,
                monotonic=time.monotonic,
            )
            closing.callback(engine.close, 0)
            engines.append(engine)
        for engine in engines:
            engine.start()
        yield engines


@pytest.mark.promise("P4", "P5")
@pytest.mark.long
def test_four_validators_keep_one_history_and_three_go_on() -> None:
    begun = now()
    with short_folder() as folder, network(folder, begun) as engines:
        for engine in engines:
            engine.wait(1, PATIENT_S)
        futures = [
            engines[number % COUNT].submit_soon(signed(Put(key=b"%d" % number, value=b"1"))) for number in range(200)
        ]
        assert {future.result(PATIENT_S).code for future in futures} == {""}
        last = max(future.result().height for future in futures)
        for engine in engines:
            engine.wait(last + 1, PATIENT_S)
        assert len({engine.block(last).signed.header for engine in engines}) == 1
        client = LightClient(CHAIN, VALIDATORS, trusted_at=begun)
        target = engines[0].light_block(last + 1)
        header = client.advance(target, engines[1].light_block, now())
        assert check_answer(header, engines[2].query(VALUES.key(b"7"), last)) is not None
        assert len(target.signed.signatures) >= 3
        engines[3].process.close()
        done = engines[0].submit(signed(Put(key=b"three", value=b"1")))
        assert engines[1].wait(done.height, PATIENT_S) >= done.height
        assert engines[2].wait(done.height, PATIENT_S) >= done.height
        assert engines[2].block(done.height) == engines[0].block(done.height)
