"""Opening what a receipt is for: who asks, why, and blocks from wherever they are whole."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from caremesh import codec
from caremesh.blobs.interface import NOT_HELD, WRONG_BLOCK, BlockStore
from caremesh.blobs.memory import MemoryBlocks
from caremesh.codec import CID
from caremesh.consensus.interface import Committed
from caremesh.contracts.access.state import REFUSALS, Refusal
from caremesh.crypto.hashes import tagged_hash
from caremesh.errors import Refused, Tampered, Unavailable
from caremesh.gateway import ask as asking
from caremesh.gateway.ask import Asked
from caremesh.gateway.gateway import Gateway
from caremesh.gateway.visit import Purpose
from caremesh.ledger.application import Result
from caremesh.wallet import state as states
from tests.support.case import BASIS, Case
from tests.support.keepers import Frozen


class Rotten(MemoryBlocks):
    """A store whose disk gives other bytes than it was given."""

    def get(self, cid: CID) -> bytes:
        raise Tampered(WRONG_BLOCK, cid.encode())


def gateway_over(case: Case, *stores: BlockStore) -> Gateway:
    made = case.mesh.member("practice").gateway(case.mesh)
    made._means = made._means._replace(stores=stores)
    return made


@pytest.mark.promise("P10")
def test_a_block_comes_from_the_first_store_that_has_it_whole_and_damage_is_told(case: Case) -> None:
    receipt = case.ask(case.share().record.items[0].consent)
    opened = gateway_over(case, Rotten(), MemoryBlocks(), *case.mesh.stores()).open(receipt, case.doctor)
    assert len(opened.records) == 2
    [segment] = case.segments()
    assert segment.descriptor is not None
    told = [(error.code, error.place) for error in opened.damaged]
    assert told[0] == ("blobs.01", segment.descriptor.encode())
    assert len(told) == len(set(told)) > 1, "each of its blocks; that a store has none is no damage"


@pytest.mark.promise("P10")
def test_a_block_that_nobody_has_is_named_with_what_the_last_store_said(case: Case) -> None:
    receipt = case.ask(case.share().record.items[0].consent)
    [segment] = case.segments()
    assert segment.descriptor is not None
    cases = [((), None), ((Rotten(), MemoryBlocks()), NOT_HELD), ((MemoryBlocks(), Rotten()), WRONG_BLOCK)]
    for stores, said in cases:
        with pytest.raises(Tampered, match=r"gateway\.03") as caught:
            gateway_over(case, *stores).open(receipt, case.doctor)
        assert caught.value.place == segment.descriptor.encode()
        cause = caught.value.__cause__
        assert (None if said is None else said.code) == (
            cause.code if isinstance(cause, Tampered | Unavailable) else cause
        )


@pytest.mark.promise("P2")
def test_a_member_that_vouches_for_who_asks_opens_with_its_own_key(case: Case) -> None:
    gateway = case.mesh.member("practice").gateway(case.mesh)
    consent = case.share().record.items[0].consent
    receipt = gateway.ask(Asked(consent, "read", "TREAT", BASIS), None)
    assert receipt.asserted
    assert len(gateway.open(receipt, None).records) == 2


def test_what_is_asked_for_carries_the_reason_that_was_given(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger gets a salted hash of it, so that what is hashed is looked at."""
    hashed: list[tuple[str, Sequence[bytes], bytes]] = []

    def listening(domain: str, *parts: bytes) -> bytes:
        hashed.append((domain, parts, tagged_hash(domain, *parts)))
        return hashed[-1][2]

    case.share()
    monkeypatch.setattr(asking, "tagged_hash", listening)
    key = states.keys_of(case.wallet.state, case.did("practice")).channel().signing.public
    why = Purpose("TREAT", BASIS, reason="a second look")
    case.mesh.member("practice").gateway(case.mesh).visit(key, why, case.doctor).close()
    [(domain, (salt, reason), _)] = hashed
    assert (domain, len(salt), reason) == ("caremesh/v1/reason", 16, b"a second look")


@pytest.mark.promise("P2")
def test_a_refusal_names_every_policy_that_decided(case: Case) -> None:
    consent = case.share().record.items[0].consent
    refusal = Refusal(
        id=asking.access.receipt_id(bytes(36), 0),
        consent=consent,
        stream=case.stream,
        member=case.did("practice"),
        requester=case.doctor.did,
        asserted=False,
        action="read",
        purpose="TREAT",
        legal_basis=BASIS,
        at=0,
        why="access.04",
        policies=["one/a", "two/b"],
    )
    committed = Committed(bytes(36), 1, Result(), [])
    told = asking._answer(Frozen({REFUSALS.key(refusal.id): codec.encode(refusal)}), committed)
    assert isinstance(told, Refused)
    assert (told.code, told.place) == ("access.04", "one/a, two/b")


def test_a_ledger_that_took_a_request_and_recorded_nothing_is_told_so() -> None:
    told = asking._answer(Frozen({}), Committed(bytes(36), 1, Result(), []))
    assert isinstance(told, Refused)
    assert (told.code, told.place) == ("gateway.05", "no record")
