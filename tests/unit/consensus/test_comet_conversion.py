"""A ledger that one key ordered, gone over to real CometBFTs: what was goes on, and nothing of before counts twice."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from caremesh import codec
from caremesh.contracts.network import queries
from caremesh.contracts.network.messages import Params, SetParams
from caremesh.errors import Refused, WrongLedger
from caremesh.ledger.blocks import Header
from caremesh.ledger.comet import CometHeader
from caremesh.ledger.light import check_answer
from tests.support.comet_engine import PATIENT_S, now, short_folder
from tests.support.comet_network import signed
from tests.support.converted import COUNT, LAST, NEXT, Converted
from tests.support.converting import Converting
from tests.support.world import CHAIN

pytestmark = pytest.mark.timeout(900)


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
