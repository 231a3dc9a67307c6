"""What CometBFT is told of validators, and what it tells of those that sign twice."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caremesh import codec
from caremesh.consensus import kept
from caremesh.consensus.cometbft.abci_pb2 import (
    DUPLICATE_VOTE,
    LIGHT_CLIENT_ATTACK,
    UNKNOWN_MISBEHAVIOR,
    Misbehavior,
    PublicKey,
    Request,
    RequestCommit,
    RequestFinalizeBlock,
    RequestInitChain,
    ResponseFinalizeBlock,
    Time,
    ValidatorUpdate,
)
from caremesh.consensus.cometbft.abci_pb2 import Validator as WireValidator
from caremesh.consensus.cometbft.application import LedgerApplication, app_state
from caremesh.consensus.cometbft.beginning import Beginning
from caremesh.consensus.cometbft.validators import misbehaviour_in, updates
from caremesh.crypto.keys import SigningKey
from caremesh.errors import WrongLedger
from caremesh.ledger.blocks import Block, Misbehaviour, SignedHeader, Validator
from caremesh.ledger.machine import Machine
from tests.support.kv import CHAIN, GENESIS, MEMBER, NOTED, START_S, VALUES, Clock, Elect, Kv, Put, transaction

KEYS = sorted(SigningKey.from_seed(f"engine {number}".encode().ljust(32, b".")).public for number in range(4))
FIRST = [Validator(KEYS[1], 7), Validator(KEYS[0], 5)]
"""Those of the genesis, in any order."""


@dataclasses.dataclass
class Node:
    """An application of which only blocks are asked."""

    app: Kv
    machine: Machine
    made: LedgerApplication

    def finalize(self, *txs: bytes, misbehavior: Sequence[Misbehavior] = ()) -> ResponseFinalizeBlock:
        request = RequestFinalizeBlock(
            txs=txs, height=self.machine.head.height + 1, time=Time(seconds=START_S), misbehavior=misbehavior
        )
        request.hash = request.next_validators_hash = b"h" * 32
        return self.made.answer(Request(finalize_block=request)).finalize_block

    def block(self, *txs: bytes, misbehavior: Sequence[Misbehavior] = ()) -> ResponseFinalizeBlock:
        answer = self.finalize(*txs, misbehavior=misbehavior)
        self.made.answer(Request(commit=RequestCommit()))
        return answer

    def elect(self, *validators: Validator) -> list[tuple[bytes, int]]:
        """What CometBFT is told when the application names these."""
        return told(self.block(transaction(Elect(list(validators)))))


def node(folder: Path, named: Sequence[Validator] = ()) -> Node:
    """``named``: whom the application names from the beginning."""
    app = Kv([MEMBER], validators=named)
    machine = kept.open_machine(folder, app, chain=CHAIN, genesis=GENESIS, genesis_time=START_S)
    made = LedgerApplication(machine, app, begins=Beginning(CHAIN, GENESIS, START_S, FIRST), clock=Clock())
    return Node(app, machine, made)


@pytest.fixture(params=[[], sorted(FIRST, key=lambda each: each.key)], ids=["names nobody", "names the first"])
def running(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Node]:
    made = node(tmp_path, request.param)
    yield made
    made.machine.store.close()


def told(answer: ResponseFinalizeBlock) -> list[tuple[bytes, int]]:
    return [(b"\xed\x01" + row.pub_key.ed25519, row.power) for row in answer.validator_updates]


def init_chain(*validators: Validator) -> Request:
    rows = [ValidatorUpdate(pub_key=PublicKey(ed25519=each.key[2:]), power=each.power) for each in validators]
    return Request(
        init_chain=RequestInitChain(
            time=Time(seconds=START_S),
            chain_id=CHAIN,
            app_state_bytes=app_state(GENESIS),
            initial_height=1,
            validators=rows,
        )
    )


def test_cometbft_hears_of_what_changed_and_of_nothing_else(running: Node) -> None:
    assert told(running.block()) == []
    assert told(running.block(transaction(Put(key=b"a", value=b"1")))) == []
    assert running.elect(*FIRST) == [], "they are those of the genesis"
    assert running.elect(Validator(KEYS[0], 5), Validator(KEYS[1], 8), Validator(KEYS[2], 1)) == [
        (KEYS[1], 8),
        (KEYS[2], 1),
    ]
    assert told(running.block()) == [], "told once"
    assert running.elect(Validator(KEYS[3], 2)) == [(KEYS[0], 0), (KEYS[1], 0), (KEYS[2], 0), (KEYS[3], 2)]


def test_a_block_that_comes_again_says_the_same(running: Node) -> None:
    raw = transaction(Elect([Validator(KEYS[2], 1)]))
    first = running.finalize(raw)
    assert running.finalize(raw) == first
    assert len(first.validator_updates) == 3
    assert told(running.finalize()) == [], "it was not committed"


def test_the_difference_is_from_what_is_committed_after_a_restart_too(tmp_path: Path) -> None:
    first = node(tmp_path)
    first.elect(Validator(KEYS[2], 1))
    first.machine.store.close()
    again = node(tmp_path)
    assert again.elect(Validator(KEYS[2], 1), Validator(KEYS[3], 1)) == [(KEYS[3], 1)]
    again.machine.store.close()


def test_cometbft_begins_with_those_whom_the_ledger_names(tmp_path: Path) -> None:
    others = node(tmp_path / "others", [Validator(KEYS[0], 5)])
    ours = node(tmp_path / "ours", FIRST)
    assert ours.made.answer(init_chain(*FIRST[::-1])).init_chain.app_hash == ours.machine.head.app_hash
    with pytest.raises(WrongLedger, match=r"consensus\.22"):
        others.made.answer(init_chain(*FIRST))
    for each in (ours, others):
        each.machine.store.close()


KIND = st.dictionaries(st.sampled_from(KEYS), st.integers(1, 3), min_size=1)


@given(before=KIND, after=KIND)
def test_changes_lead_from_one_set_to_the_other_in_one_way(before: dict[bytes, int], after: dict[bytes, int]) -> None:
    rows = updates([Validator(*row) for row in before.items()], [Validator(*row) for row in after.items()])
    keys = [b"\xed\x01" + row.pub_key.ed25519 for row in rows]
    assert keys == sorted(set(keys)), "each key once"
    known = dict(before)
    for key, row in zip(keys, rows, strict=True):
        assert known.get(key) != row.power, "no change that changes nothing"
        if row.power:
            known[key] = row.power
        else:
            del known[key]  # CometBFT ends at one that it does not know
    assert known == after


def wire(
    kind: object = DUPLICATE_VOTE, address: bytes = b"a" * 20, height: int = 3, seconds: int = START_S
) -> Misbehavior:
    return Misbehavior(
        type=kind,  # type: ignore[arg-type]
        validator=WireValidator(address=address, power=9),
        height=height,
        time=Time(seconds=seconds, nanos=5),
    )


def test_proof_reaches_the_application_before_transactions_and_stays_in_the_block(running: Node) -> None:
    found = [wire(), wire(LIGHT_CLIENT_ATTACK, b"b" * 20, 4, START_S - 1)]
    before = running.machine.head.app_hash
    running.block(transaction(Put(key=b"a", value=b"1")), misbehavior=found)
    expected = [
        Misbehaviour(kind="two-votes", validator=b"a" * 20, height=3, time=START_S),
        Misbehaviour(kind="false-header", validator=b"b" * 20, height=4, time=START_S - 1),
    ]
    reader = running.machine.reader()
    assert list(NOTED.items(reader, b"")) == expected
    assert running.machine.head.app_hash != before
    block = kept.block_at(running.machine, 1)
    assert block.misbehaviour == expected
    assert [event.type for event in running.machine.results(1).events] == ["kv/noted", "kv/noted", "kv/put"]
    assert [event.tx for event in running.machine.results(1).events[:2]] == [b"", b""]
    assert running.machine.results(1).txs[0] == running.machine.results(1).events[2].tx


def test_executing_kept_blocks_again_gives_the_same(running: Node, tmp_path: Path) -> None:
    running.block(misbehavior=[wire()])
    running.block(transaction(Put(key=b"a", value=b"1")))
    again = node(tmp_path / "again", running.app.first)
    for height in (1, 2):
        block = kept.block_at(running.machine, height)
        header = block.signed.own()
        done = again.machine.execute(height, header.time, block.txs, block.misbehaviour)
        assert done.app_hash == header.app_hash
        again.machine.commit(done, block=codec.encode(block), header=header.hash())
    assert VALUES.get(again.machine.reader(), b"a") == b"1"
    again.machine.store.close()


def test_a_block_without_proof_is_written_as_it_always_was() -> None:
    old = {"signed": {"header": b"h", "signatures": []}, "txs": [b"1"]}
    block = Block(SignedHeader(b"h", []), [b"1"])
    assert codec.encode(block) == codec.encode(old)
    assert codec.decode_as(codec.encode(old), Block) == block


@pytest.mark.parametrize(
    "found",
    [
        wire(UNKNOWN_MISBEHAVIOR),
        wire(address=b"a" * 19),
        wire(height=-1),
        wire(height=2**53),
        wire(seconds=-1),
        wire(seconds=2**40),
    ],
    ids=["kind", "address", "height", "late", "before 1970", "the end of time"],
)
def test_proof_that_no_ledger_can_write_down_is_left_out(found: Misbehavior) -> None:
    assert [each.height for each in misbehaviour_in(RequestFinalizeBlock(misbehavior=[found, wire()]))] == [3]
