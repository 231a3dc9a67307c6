"""A wallet goes over to the chain that follows: headers, proofs, transactions, and what was saved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import pytest
from msgspec.structs import replace

from caremesh.contracts.network import queries as network
from caremesh.contracts.network.messages import EndBrake
from caremesh.crypto.keys import SigningKey
from caremesh.errors import CareMeshError, WrongLedger
from caremesh.ledger import transactions
from caremesh.ledger.blocks import BlockHeader, Validator
from caremesh.ledger.light import FOREVER_S, Answer, Crossing, LightBlock, LightClient
from caremesh.ledger.succession import KEY, chain_of, following
from caremesh.ledger.transactions import Signs
from caremesh.types import Did, Height
from caremesh.wallet import audit_proof, transact
from caremesh.wallet.proven import Fault, ProvenLedger
from tests.support.case import Case
from tests.support.converting import Converting, comet_block
from tests.support.honest_node import Honest
from tests.support.world import CHAIN

LAST = 2
NEXT = following(CHAIN, LAST)


@pytest.fixture
def gone_over(tmp_path: Path) -> Iterator[tuple[Converting, Crossing]]:
    made = Converting(tmp_path / "operator")
    yield made, made.convert()
    made.engine.close()


class Node:
    """Has one header, the newest, and proves nothing."""

    def __init__(self, did: Did, block: LightBlock) -> None:
        self.did = did
        self._block = block

    def light_block(self, height: Height | None = None) -> LightBlock:
        assert height in (None, LAST + 1)
        return self._block

    def answers(self, keys: Sequence[bytes], height: Height) -> list[Answer]:
        raise AssertionError(keys, height)


def ledger(case: Converting, true: Crossing, shown: Crossing | None) -> tuple[ProvenLedger, list[Did]]:
    """Over two nodes of the chain that follows, and who was asked for the crossing."""
    block = comet_block(true, LAST + 1, NEXT)
    asked: list[Did] = []

    def ask(did: Did) -> Crossing | None:
        asked.append(did)
        return shown

    nodes = [Node("one", block), Node("two", block)]
    return ProvenLedger(case.client(), lambda: nodes, lambda: block.signed.content().time, crossing=ask), asked


@pytest.mark.promise("P4")
def test_a_wallet_crosses_once_and_so_does_what_it_asks_witnesses_by(
    gone_over: tuple[Converting, Crossing],
) -> None:
    case, crossing = gone_over
    proven, asked = ledger(case, crossing, crossing)
    for _ in range(2):
        proven.reader()
    assert proven.block is not None
    assert proven.block.signed.content().chain == proven._light.chain == proven._root.chain == NEXT
    assert asked == ["one"]
    assert proven.faults == []


@pytest.mark.promise("P4")
def test_what_was_seen_once_is_not_asked_for_again(gone_over: tuple[Converting, Crossing]) -> None:
    case, crossing = gone_over
    first, _ = ledger(case, crossing, crossing)
    assert first.crossed is None
    first.reader()
    assert first.crossed == crossing
    block = comet_block(crossing, LAST + 1, NEXT)
    nodes = [Node("one", block), Node("two", block)]

    def ask(did: Did) -> Crossing | None:
        raise AssertionError(did)

    at = block.signed.content().time
    later = ProvenLedger(case.client(), lambda: nodes, lambda: at, crossing=ask, crossed=first.crossed)
    later.reader()
    assert (later._light.chain, later._root.chain, later.crossed) == (NEXT, NEXT, crossing)
    with pytest.raises(CareMeshError, match=r"light\.09"):
        ProvenLedger(case.client(), lambda: nodes, lambda: at, crossed=replace(crossing, validators=[]))


@pytest.mark.promise("P4")
def test_a_kept_header_of_either_chain_leads_to_the_next(gone_over: tuple[Converting, Crossing]) -> None:
    case, crossing = gone_over
    block = comet_block(crossing, LAST + 1, NEXT)
    nodes, at = [Node("one", block), Node("two", block)], block.signed.content().time
    for kept, crossed in ((crossing.block, crossing), (crossing.block, None), (block, crossing), (block, None)):
        proven = ProvenLedger(
            case.client(), lambda: nodes, lambda: at, crossing=lambda _: crossing, crossed=crossed, kept=kept
        )
        proven.reader()
        assert (proven.block, proven.faults) == (block, [])
        assert proven._trust is not None
        assert (proven._light.chain, proven._trust.chain) == (NEXT, NEXT)
        assert proven._root.chain == (CHAIN if (kept, crossed) == (block, None) else NEXT)
        assert proven.crossed == (None if (kept, crossed) == (block, None) else crossing)


@pytest.mark.promise("P4")
def test_without_what_proves_it_no_other_chain_is_believed(gone_over: tuple[Converting, Crossing]) -> None:
    proven, asked = ledger(*gone_over, None)
    with pytest.raises(CareMeshError) as caught:
        proven.reader()
    assert caught.value.code == "light.06"
    assert (asked, proven._light.chain) == (["one", "two"], CHAIN)
    assert proven.faults == [Fault("one", "light.06"), Fault("two", "light.06")]


@pytest.mark.promise("P4")
def test_who_cannot_go_over_whole_does_not_go_over(gone_over: tuple[Converting, Crossing]) -> None:
    """Where what was trusted first does not lead to the crossing, neither does what was believed since."""
    case, crossing = gone_over
    proven, _ = ledger(case, crossing, crossing)
    other = [Validator(SigningKey.generate().public, 1)]
    root = LightClient(CHAIN, other, trusted_at=case.begun, trust_period_s=FOREVER_S)
    proven._root = root  # type: ignore[misc]
    with pytest.raises(CareMeshError):
        proven.reader()
    assert (proven._light.chain, root.chain) == (CHAIN, CHAIN)


@pytest.mark.slow
def test_the_chain_that_transactions_are_for_is_proven_with_the_parameters(case: Case) -> None:
    node = Honest(case)
    reader = ProvenLedger(case.mesh.light_client(), lambda: [node], case.clock).reader()
    network.params(reader)
    assert chain_of(reader, "name") == "name"
    assert node.asked == [[network.params_key(), KEY]]


def test_what_a_wallet_signs_is_for_the_chain_that_follows(gone_over: tuple[Converting, Crossing]) -> None:
    case = gone_over[0]
    hospital = case.world.hospital

    class Sponsoring:
        did = str(hospital.did)

        def sponsor(self, data: bytes, _: Signs) -> bytes:
            return hospital.key.sign(transactions.SIGNING_DOMAIN + data)

    raw = transact.signed(case.engine.reader(), CHAIN, EndBrake(), SigningKey.generate(), Sponsoring(), case.begun)
    assert NEXT.encode() in raw


@pytest.mark.promise("P4")
def test_what_was_saved_on_a_later_chain_is_of_this_network(case: Case) -> None:
    class Believing:
        """A client that has gone over."""

        def __init__(self, chain: str) -> None:
            self._chain = chain

        def verify(self, block: LightBlock, now: int) -> BlockHeader:
            header = case.mesh.light_client().verify(block, now)
            return replace(header, chain=self._chain)

    block = case.mesh.engine.light_block()
    height = block.signed.content().height
    state = case.wallet.state
    made = audit_proof.prove(state, block, lambda key: case.mesh.engine.query(key, height), [], [])
    for chain, good in ((f"{state.chain}.7", True), (f"other.{height}", False), (f"{state.chain}.7.9", False)):
        later = replace(made, chain=chain)
        client = cast("LightClient", Believing(chain))
        if good:
            assert audit_proof.check(later, state, client, case.clock()).header.chain == chain
        else:
            with pytest.raises(WrongLedger, match=r"wallet\.24"):
                audit_proof.check(later, state, client, case.clock())
