"""A ledger that one key ordered, gone over to real CometBFTs: what was goes on, and nothing of before counts twice."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from caremesh import codec
from caremesh.consensus.cometbft.config import Addresses
from caremesh.consensus.cometbft.engine import CometBft, Local
from caremesh.contracts import Contracts
from caremesh.contracts.network import queries
from caremesh.contracts.network.messages import Params, SetParams
from caremesh.errors import Refused, WrongLedger
from caremesh.ledger.blocks import Header
from caremesh.ledger.comet import CometHeader, address_of
from caremesh.ledger.light import Crossing, check_answer
from caremesh.ledger.succession import following
from tests.support.comet_engine import PATIENT_S, now, short_folder
from tests.support.comet_network import PACE, engine_key, free_ports, node_key, signed
from tests.support.converting import SIGNERS, Converting
from tests.support.world import CHAIN
from tools.cometbft import cometbft

pytestmark = pytest.mark.timeout(900)
COUNT = 3
LAST = 4
NEXT = following(CHAIN, LAST)


class Converted:
    """A ledger of four blocks, and the nodes that go on with it; each has a copy of its own."""

    def __init__(self, folder: Path) -> None:
        self.before = Converting(folder / "operator" / "ledger")
        self.engines: list[CometBft] = []
        self._ports = free_ports(COUNT)
        engine, world = self.before.engine, self.before.world
        engine.make_block()
        self.early = signed(SetParams(params=Params(kept_heights=500)), *world.custodians[:2])
        self.committed = engine.submit(self.early)
        self.pending = signed(SetParams(params=Params(kept_heights=600)), *world.custodians[:2])
        self.crossing: Crossing = self.before.convert([str(number) for number in range(COUNT)])
        self.folders = [folder / str(number) for number in range(COUNT)]
        blocks = list(engine.blocks(1))
        engine.close()
        for path in self.folders[1:]:
            copy = self.before.replica(path / "ledger")
            for block in blocks:
                copy.apply(block)
            copy.close()
        self.folders[0] = folder / "operator"

    def start(self) -> None:
        self.engines = [self.opened(number) for number in range(COUNT)]
        for engine in self.engines:
            engine.start()
        for engine in self.engines:
            engine.wait(LAST + 1, PATIENT_S)

    def opened(self, number: int, folder: Path | None = None) -> CometBft:
        others = [
            f"{address_of(node_key(other).public).hex()}@127.0.0.1:{port}"
            for other, port in enumerate(self._ports)
            if other != number
        ]
        addresses = Addresses(f"127.0.0.1:{self._ports[number]}", tuple(others), one_host=True)
        return CometBft(
            folder or self.folders[number],
            Contracts(),
            Local(cometbft(), engine_key(str(number)), node_key(number), addresses, PACE),
            chain=CHAIN,
            genesis=self.before.genesis,
            genesis_time=self.before.begun,
            validators=SIGNERS,
            clock=now,
            monotonic=time.monotonic,
            crossed=self.crossing,
        )

    def close(self) -> None:
        for engine in self.engines:
            engine.close(0)
        self.before.engine.close()


@pytest.fixture(scope="module")
def case() -> Iterator[Converted]:
    with short_folder() as folder:
        made = Converted(folder)
        try:
            made.start()
            yield made
        finally:
            made.close()


@pytest.mark.slow
@pytest.mark.promise("P4")
def test_several_go_on_with_what_one_had_ordered(case: Converted) -> None:
    engine, world = case.engines[1], case.before.world
    made = SetParams(params=Params(kept_heights=700))
    done = engine.submit_soon(signed(made, *world.custodians[:2], chain=NEXT)).result(PATIENT_S)
    assert (done.code, done.height > LAST) == ("", True)
    for each in case.engines:
        each.wait(done.height + 1, PATIENT_S)
    assert len({codec.encode(each.block(done.height)) for each in case.engines}) == 1
    assert queries.params(engine.reader()).kept_heights == 700
    assert engine.outcome(case.committed.tx) == case.committed, "what was done before is known yet"
    first = engine.block(LAST + 1).signed.own()
    assert first.previous == engine.block(LAST).signed.own().hash()

    client = case.before.client()
    block = engine.light_block()
    header = client.advance(block, engine.light_block, now(), crossing=lambda: case.crossing)
    assert isinstance(header, CometHeader)
    assert header.chain == client.chain == NEXT
    answer = engine.query(b"network/params/", header.proves)
    assert check_answer(header, answer) is not None


@pytest.mark.slow
@pytest.mark.promise("P4")
def test_headers_of_before_are_served_and_verify_under_the_old_chain(case: Converted) -> None:
    for engine in case.engines:
        for height in range(1, LAST + 1):
            header = case.before.client().until(LAST).verify(engine.light_block(height), now())
            assert isinstance(header, Header)
            assert (header.chain, header.height) == (CHAIN, height)
    assert case.engines[1].light_block(LAST) == case.crossing.block
    next_ = case.engines[1].light_block(LAST + 1).signed.content()
    assert (next_.chain, next_.height, next_.app_hash) == (NEXT, LAST + 1, case.crossing.block.signed.own().app_hash)


@pytest.mark.slow
@pytest.mark.promise("P7")
def test_what_was_signed_for_the_old_chain_is_refused(case: Converted) -> None:
    for raw in (case.pending, case.early):
        with pytest.raises(Refused, match=r"ledger\.06"):
            case.engines[0].submit_soon(raw)


@pytest.mark.slow
@pytest.mark.promise("P7")
def test_each_is_killed_and_goes_on(case: Converted) -> None:
    for number in range(COUNT):
        before = case.engines[number]
        before.close(0)
        case.engines[number] = case.opened(number)
        case.engines[number].start()
        height = max(engine.machine.head.height for engine in case.engines)
        for engine in case.engines:
            engine.wait(height + 2, PATIENT_S)


@pytest.mark.slow
@pytest.mark.promise("P7")
def test_a_copy_of_another_state_does_not_begin(case: Converted, tmp_path: Path) -> None:
    behind = case.before.replica(tmp_path / "behind" / "ledger")
    for height in range(1, LAST):
        behind.apply(case.engines[0].block(height))
    behind.close()
    with pytest.raises(WrongLedger, match=r"consensus\.28"):
        case.opened(1, tmp_path / "behind")
    other = Converting(tmp_path / "other" / "ledger")
    try:
        other.begun, other.genesis = case.before.begun, case.before.genesis
        other.engine.close()
        shutil.rmtree(tmp_path / "other")
        other.engine = other.opened()
        while other.engine.machine.head.height < LAST:
            other.engine.make_block()
    finally:
        other.engine.close()
    with pytest.raises(WrongLedger, match=r"consensus\.28"):
        case.opened(1, tmp_path / "other")
