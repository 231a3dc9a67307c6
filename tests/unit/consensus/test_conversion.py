"""From one key that orders blocks to several: the last block of a chain, what it proves, and who believes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from caremesh import codec
from caremesh.consensus import kept
from caremesh.consensus.cometbft.beginning import Beginning, after, check_begins
from caremesh.contracts.network.messages import CancelConvert, EndBrake
from caremesh.errors import CareMeshError, Refused, Tampered, Unavailable, WrongLedger
from caremesh.ledger.application import Context
from caremesh.ledger.blocks import (
    Block,
    Header,
    Validator,
    validators_hash,
)
from caremesh.ledger.light import Crossing, LightBlock, LightClient
from caremesh.ledger.store import Head
from caremesh.ledger.succession import KEY, SUCCESSION, Succession, chain_of, following
from caremesh.ledger.transactions import Message
from tests.support import comet_headers, kv
from tests.support.comet_engine import now
from tests.support.comet_network import engine_key, in_order, signed, validator
from tests.support.converting import SIGNERS, Converting, comet_block, resigned
from tests.support.world import CHAIN, Actor

NEXT = following(CHAIN, 3)


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Converting]:
    made = Converting(tmp_path / "operator")
    yield made
    made.engine.close()


def quorum(case: Converting) -> list[Actor]:
    return case.world.custodians[:2]


def header_at(case: Converting, height: int) -> Header:
    return case.engine.block(height).signed.own()


@pytest.mark.promise("P4")
def test_the_last_block_names_who_follows_and_is_the_last(case: Converting, tmp_path: Path) -> None:
    case.engine.make_block()
    crossing = case.convert()
    last = case.engine.machine.head
    assert last.height == 3
    assert case.engine.stopped, "at once: nobody waits for a block that does not come"
    assert len(crossing.validators) == 4
    assert header_at(case, 2).next_validators == header_at(case, 2).validators == validators_hash(SIGNERS)
    assert header_at(case, 3).next_validators == comet_headers.name_of(crossing.validators)
    with pytest.raises(Unavailable, match=r"consensus\.(01|09)"):
        case.engine.make_block()
    with pytest.raises(Unavailable, match=r"consensus\.01"):
        case.engine.submit(signed(EndBrake(), *quorum(case)))
    assert not case.engine.status().running
    assert case.engine.stopped

    case.engine.close()
    case.engine = case.opened()
    with pytest.raises(Unavailable, match=r"consensus\.09"):
        case.engine.make_block()
    assert case.engine.machine.head == last
    with pytest.raises(Unavailable, match=r"consensus\.01"):
        case.engine.submit(signed(EndBrake(), *quorum(case)))

    follower = case.replica(tmp_path / "follower")
    try:
        for block in case.engine.blocks(1):
            assert not follower.stopped
            follower.apply(block)
        assert follower.stopped, "another process goes on with it"
        assert kept.crossing_of(follower.machine, SIGNERS) == crossing
        with pytest.raises(Unavailable, match=r"consensus\.09"):
            follower.apply(case.engine.block(3))
        assert follower.height() == 3
    finally:
        follower.close()


@pytest.mark.promise("P4")
def test_a_follower_takes_no_last_block_that_names_others(case: Converting, tmp_path: Path) -> None:
    case.engine.make_block()
    case.convert()
    follower = case.replica(tmp_path / "follower")
    try:
        for height in (1, 2):
            follower.apply(case.engine.block(height))
        true = case.engine.block(3)
        lie = replace(true.signed.own(), next_validators=validators_hash(SIGNERS))
        with pytest.raises(Tampered, match=r"consensus\.03"):
            follower.apply(Block(resigned(lie), true.txs))
        follower.apply(true)
    finally:
        follower.close()


@pytest.mark.promise("P4")
def test_a_light_client_goes_over_and_believes_no_more_of_the_old_chain(case: Converting) -> None:
    case.engine.make_block()
    crossing = case.convert()
    client = case.client()
    assert client.cross(crossing, now()) == crossing.block.signed.own()
    assert (client.chain, client.height) == (NEXT, 3)
    with pytest.raises(Refused, match=r"light\.05"):
        client.check(comet_block(crossing, 3, NEXT), now())
    ended = case.client().until(3)
    ended.cross(crossing, now())
    assert ended.check(comet_block(crossing, 4, NEXT), now()).height == 4, "the new chain has no end"
    later = comet_block(crossing, 40, NEXT)
    assert client.copy().advance(later, case.engine.light_block, now()).height == 40, "by those whom it names"
    with pytest.raises(WrongLedger, match=r"light\.06"):
        client.check(crossing.block, now())
    with pytest.raises(Tampered, match=r"light\.01"):
        client.check(comet_block(crossing, 4, NEXT, "0", "1"), now())
    with pytest.raises(WrongLedger, match=r"light\.06"):
        client.check(comet_block(crossing, 4, CHAIN), now())
    strangers = replace(crossing, validators=[Validator(engine_key(name).public, 10) for name in ("7", "8", "9")])
    with pytest.raises(Tampered, match=r"light\.01"):
        client.check(comet_block(crossing, 4, NEXT, "7", "8", "9"), now())
    with pytest.raises(Tampered, match=r"light\.09"):
        case.client().cross(strangers, now())
    assert client.verify(comet_block(crossing, 4, NEXT), now()).height == 4

    assert case.client().advance(later, case.engine.light_block, now(), crossing=lambda: crossing).height == 40
    with pytest.raises(WrongLedger, match=r"light\.06"):
        case.client().advance(later, case.engine.light_block, now())


@pytest.mark.promise("P4")
def test_old_headers_stay_true_and_none_comes_after_the_last(case: Converting) -> None:
    case.engine.make_block()
    crossing = case.convert()
    old = case.client().until(3)
    assert old.verify(case.engine.light_block(2), now()).height == 2
    assert old.verify(case.engine.light_block(3), now()).height == 3
    forged = replace(header_at(case, 3), height=4, next_validators=validators_hash(SIGNERS))
    with pytest.raises(Tampered, match=r"light\.18"):
        case.client().until(3).check(LightBlock(resigned(forged), SIGNERS), now())
    assert case.client().check(LightBlock(resigned(forged), SIGNERS), now()), "who does not know, cannot tell"
    assert crossing.block == case.engine.light_block(3)


@pytest.mark.promise("P4")
def test_what_does_not_prove_it_is_no_crossing(case: Converting) -> None:
    case.engine.make_block()
    case.engine.make_block()
    before = Crossing(case.engine.light_block(2), case.engine.query(KEY), list(SIGNERS))
    with pytest.raises(Tampered, match=r"light\.15"):
        case.client().cross(before, now())  # proven absent
    crossing = case.convert()
    other = replace(crossing, answer=case.engine.query(b"network/params/"))
    earlier = replace(crossing, block=case.engine.light_block(3))
    forged = replace(crossing.answer, proof=replace(crossing.answer.proof, value=codec.encode([NEXT, 3])))
    own = LightBlock(crossing.block.signed, [Validator(engine_key("0").public, 1)])
    after_the_last = LightBlock(resigned(replace(header_at(case, 4), height=5)), SIGNERS)  # over the same state
    later = replace(crossing, block=after_the_last, answer=replace(crossing.answer, height=5))
    for bad, code in (
        (other, "light.15"),
        (later, "light.15"),
        (earlier, "light.08"),
        (replace(crossing, answer=forged), "proof.01"),
        (replace(crossing, block=own), "light.09"),
        (replace(crossing, validators=crossing.validators[:3]), "light.09"),
        (replace(crossing, validators=crossing.validators[::-1]), "light.09"),
        (replace(crossing, validators=[*crossing.validators[:3], *SIGNERS]), "light.09"),
    ):
        client = case.client()
        with pytest.raises(CareMeshError) as raised:
            client.cross(bad, now())
        assert raised.value.code == code
        assert (client.chain, client.height) == (CHAIN, 0), "nothing has changed"


class AsGiven(kv.Kv):
    """Writes whatever it is told to, as it is."""

    def handle(self, ctx: Context, message: Message) -> None:
        assert isinstance(message, kv.Put)
        ctx.state.put(message.key, message.value)


@pytest.mark.promise("P4")
def test_who_follows_stands_under_one_key(tmp_path: Path) -> None:
    engine = kv.engine(tmp_path, app=AsGiven([kv.MEMBER]))
    try:
        said = codec.encode(Succession("other.1", 1))
        engine.submit(kv.transaction(kv.Put(key=b"elsewhere/", value=said)))
        forged = Crossing(engine.light_block(1), engine.query(b"elsewhere/"), engine.validators)
        client = LightClient(kv.CHAIN, engine.validators, trusted_at=kv.START_S)
        with pytest.raises(Tampered, match=r"light\.15"):
            client.cross(forged, engine.light_block(1).signed.own().time)
    finally:
        engine.close()


def test_it_can_be_put_off_and_called_off_but_not_done_twice(case: Converting) -> None:
    case.engine.make_block()
    assert case.send(CancelConvert(), *quorum(case)).code == "network.16"
    assert case.send(case.decision(9), case.world.custodians[0]).code == "network.01"
    assert case.send(case.decision(4), *quorum(case)).code == "network.08", "not of a block that is being made"
    wrong = replace(case.decision(9), validators=case.decision(9).validators[::-1])
    assert case.send(wrong, *quorum(case)).code == "network.06"
    assert case.send(case.decision(9), *quorum(case)).code == ""
    assert case.engine.machine.params.last_height == 9
    assert case.send(CancelConvert(), case.world.custodians[0]).code == "network.01"
    assert case.send(CancelConvert(), *quorum(case)).code == ""
    assert case.engine.machine.params.last_height == 0
    while case.engine.machine.head.height < 12:
        case.engine.make_block()
    assert chain_of(case.engine.reader(), CHAIN) == CHAIN
    assert case.send(case.decision(20), *quorum(case)).code == ""
    assert case.send(case.decision(15), *quorum(case)).code == "", "another decision takes its place"
    case.engine.make_block()
    found = SUCCESSION.get(case.engine.reader())
    assert found is not None
    assert (found.chain, found.height) == (following(CHAIN, 15), 15)


@pytest.mark.promise("P7")
def test_transactions_are_for_one_chain_and_what_was_signed_before_is_for_none_after(case: Converting) -> None:
    case.engine.make_block()
    late = signed(EndBrake(), *quorum(case))
    crossing = case.convert()
    machine, header = case.engine.machine, crossing.block.signed.own()
    done = machine.execute(4, header.time, [late, signed(EndBrake(), *quorum(case), chain=NEXT)])
    assert [each.code for each in done.results.results] == ["ledger.06", "network.04"]
    with pytest.raises(Refused, match=r"ledger\.06"):
        machine.check(machine.codec.decode(late), now())
    machine.check(machine.codec.decode(signed(EndBrake(), *quorum(case), chain=NEXT)), now())
    again = machine.execute(4, header.time, [signed(case.decision(9), *quorum(case), chain=NEXT)])
    assert [each.code for each in again.results.results] == ["network.15"], "it is done once"
    called_off = machine.execute(4, header.time, [signed(CancelConvert(), *quorum(case), chain=NEXT)])
    assert [each.code for each in called_off.results.results] == ["network.15"]

    case.engine.close()
    case.engine = case.opened()
    done = case.engine.machine.execute(4, header.time, [late])
    assert [each.code for each in done.results.results] == ["ledger.06"], "after a restart, too"


def test_a_chain_begins_with_the_state_that_its_crossing_names_or_not_at_all(case: Converting) -> None:
    case.engine.make_block()
    crossing = case.convert()
    begins, head = after(crossing, case.client()), case.engine.machine.head
    assert (begins.chain, begins.height, begins.app_hash, begins.document) == (NEXT, 3, head.app_hash, head.header)
    check_begins(head, begins)
    later = Head(CHAIN, 4, head.time, bytes(32), bytes(32))
    check_begins(later, begins)
    for wrong in (
        replace(head, height=2),
        replace(head, app_hash=bytes(32)),
        replace(head, header=bytes(32)),
    ):
        with pytest.raises(WrongLedger, match=r"consensus\.28"):
            check_begins(wrong, begins)
    check_begins(replace(head, height=0), Beginning(CHAIN, b"", 0, SIGNERS))


def test_who_orders_is_as_the_contract_has_it_when_the_last_block_is_made(case: Converting) -> None:
    case.engine.make_block()
    crossing = case.convert(("0", "1"))
    named = in_order(validator(case.world.hospital, "0"), validator(case.world.practice, "1"))
    assert sorted(each.key for each in crossing.validators) == [each.key for each in named]
