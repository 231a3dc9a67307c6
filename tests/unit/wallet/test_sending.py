"""How a wallet sends: transactions, permits, revocations, fragments; to the word, and all of one patient."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Barrier
from typing import Any

import pytest
from msgspec.structs import replace

from caremesh import codec
from caremesh.consensus.interface import Committed
from caremesh.contracts.consent import queries as consents
from caremesh.contracts.consent.messages import Revoke
from caremesh.contracts.identity import queries as identity
from caremesh.contracts.network import queries as network
from caremesh.contracts.streams import queries as streams
from caremesh.contracts.streams.messages import NewEpoch, Permit
from caremesh.errors import CareMeshError, Refused, Unavailable
from caremesh.ledger.application import Result
from caremesh.node.founding import CHAIN
from caremesh.node.mesh import LocalMesh
from caremesh.types import DAY_S, Did, SignedPermit
from caremesh.wallet import change, delegate, enrol, epoch, revoke, transact
from caremesh.wallet import state as states
from caremesh.wallet.delegate import Missing
from caremesh.wallet.enrol import Custody, Writing
from caremesh.wallet.standing import Standing, caught_up, standing
from caremesh.wallet.state import PendingDeposit
from tests.support.known import Known
from tests.support.patient import SILENT


@pytest.fixture(scope="module")
def known(mesh: LocalMesh, tmp_path_factory: pytest.TempPathFactory) -> Known:
    return Known(mesh, tmp_path_factory.mktemp("known"))


def test_a_transaction_is_signed_by_the_streams_key_and_the_sponsor(known: Known) -> None:
    message, key = Revoke(consent=bytes(32)), known.located.keys.signing(0)
    raws = [transact.signed(known.reader, CHAIN, message, key, known.sponsor, known.at) for _ in range(2)]
    first, second = (known.mesh.engine.machine.codec.decode(raw).tx for raw in raws)
    hospital = identity.identity(known.reader, known.sponsor.did)
    assert hospital is not None
    assert (first.chain, first.msgs) == (CHAIN, [message])
    assert [(signer.key, signer.did) for signer in first.signers] == [
        (key.public, None),
        (hospital.key, known.sponsor.did),
    ]
    assert first.expires_at == transact.expiry(known.at, network.params(known.reader).tx_ttl_s)
    assert first.salt != second.salt


def test_an_expiry_is_the_same_for_all_of_a_quarter() -> None:
    assert [transact.expiry(now, 400) for now in (1000, 1001, 1099, 1100, 1101)] == [1300, 1300, 1300, 1400, 1400]
    assert [transact.expiry(now, 0) for now in (7, 8)] == [10, 11]
    assert transact.expiry(10, 7) == 13


class Listening:
    """A ledger that notes what comes which way, and answers with what came."""

    def __init__(self) -> None:
        self.came: list[tuple[str, list[bytes]]] = []

    def submit(self, transactions: Sequence[bytes]) -> list[Committed]:
        self.came.append(("urgent", list(transactions)))
        return [Committed(raw, 1, Result(), []) for raw in transactions]

    def submit_batch(self, transactions: Sequence[bytes]) -> list[Committed]:
        self.came.append(("batch", list(transactions)))
        return [Committed(raw, 1, Result(), []) for raw in transactions]


@pytest.mark.parametrize("urgent", [True, False])
def test_answers_come_in_the_order_of_the_questions_and_these_go_in_any(urgent: bool) -> None:
    ledger, raws = Listening(), [bytes([number]) for number in range(40)]
    answers = transact.submit(ledger, raws, urgent=urgent)  # type: ignore[arg-type]
    assert [answer.tx for answer in answers] == raws
    [(way, sent)] = ledger.came
    assert way == ("urgent" if urgent else "batch")
    assert sorted(sent) == raws
    assert sent != raws


def test_a_refusal_of_the_ledger_is_told_in_its_words() -> None:
    bare = Committed(b"", 1, Result(code="consent.99"), [])
    said = Committed(b"", 1, Result(code="consent.98", sentence="No.", place="msgs[0]"), [])
    error = transact.refusal(bare)
    assert (error.code, error.error.sentence, error.place) == ("consent.99", "The ledger refused this.", "")
    error = transact.refusal(said)
    assert (error.code, error.error.sentence, error.place) == ("consent.98", "No.", "msgs[0]")
    transact.accepted([])
    with pytest.raises(Refused, match=r"consent\.98"):
        transact.accepted([Committed(b"", 1, Result(), []), said, bare])


def test_a_stream_stands_where_the_ledger_or_the_permit_says(known: Known) -> None:
    opened = streams.stream(known.reader, known.stream)
    assert opened is not None
    assert standing(known.reader, known.located) == Standing(
        rotation=0,
        epoch=0,
        reading_key=known.located.keys.reading(0).public,
        custodians=opened.custodians,
        threshold=2,
        permit=None,
    )
    [imaging] = states.choose(known.wallet.state, ["imaging"])
    located = states.locate(known.wallet.state, imaging)
    signed = codec.decode_as(located.stream.permit, SignedPermit)
    assert standing(known.reader, located) == Standing(
        rotation=0,
        epoch=0,
        reading_key=located.keys.reading(0).public,
        custodians=sorted(set(known.mesh.custodians) - {known.did("hospital")}),
        threshold=2,
        permit=signed,
    )
    stream = replace(known.located.stream, serial=0, epoch=7, rotation=7)
    assert caught_up(known.reader, stream) == replace(stream, serial=opened.serial, epoch=0, rotation=0)
    assert caught_up(known.reader, replace(stream, serial=99)).serial == 99
    assert caught_up(known.reader, located.stream) is located.stream


def test_what_of_a_delegation_stands_and_what_of_a_deposit_is_wanted(known: Known) -> None:
    consent = known.consent(known.given)
    practice = known.mesh.member("practice").home
    grantee = change.active_member(known.reader, practice.did)
    custodians = [entry.custodian for entry in consent.fragments]
    assert delegate.is_current(consent, grantee, 0, tuple(custodians))
    assert not delegate.is_current(consent, grantee, 1, custodians)
    assert not delegate.is_current(consent, grantee, 0, custodians[:2])
    assert not delegate.is_current(replace(consent, receiving_key=b"\x02" + bytes(32)), grantee, 0, custodians)
    pending = PendingDeposit(consent=consent.id, custodian=custodians[0], what=bytes(32), sealed=b"")
    assert delegate.is_wanted(known.reader, pending, consent.ends - 1)
    assert not delegate.is_wanted(known.reader, pending, consent.ends)
    assert not delegate.is_wanted(known.reader, replace(pending, consent=bytes(32)), known.at)
    lacks = Missing(consent=consent.id, custodian=custodians[0], code="test.01")
    other = replace(pending, custodian=custodians[1])
    assert delegate.unreached([other, pending], [lacks]) == [pending]
    assert delegate.unreached([other, pending], []) == []


class Silent:
    """A way to custodians of whom some do not answer; what came is known."""

    def __init__(self, *silent: Did) -> None:
        self.silent = silent
        self.asked: list[tuple[Did, bytes]] = []

    def deposit(self, custodian: Did, sealed: bytes) -> bytes:
        self.asked.append((custodian, sealed))
        raise Unavailable(SILENT)


def test_all_custodians_are_asked_side_by_side(known: Known) -> None:
    custodians = standing(known.reader, known.located).custodians
    met = Barrier(len(custodians))

    class Waiting:
        """Nobody answers before everybody was asked."""

        def deposit(self, _: Did, __: bytes) -> bytes:
            met.wait(60)
            raise Unavailable(SILENT)

    deposits = [PendingDeposit(consent=bytes(32), custodian=did, what=bytes(32), sealed=b"") for did in custodians]
    missing = delegate.leave(known.reader, deposits, Waiting())
    assert [(entry.custodian, entry.code) for entry in missing] == [(did, "test.01") for did in custodians]


def test_fragments_that_too_few_acknowledge_stop_the_grant(known: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, three = standing(known.reader, known.located).custodians
    first, second = b"1" * 32, b"2" * 32
    deposits = [
        PendingDeposit(consent=consent, custodian=custodian, what=bytes(32), sealed=consent + custodian.encode())
        for consent in (first, second)
        for custodian in (one, two, three)
    ]
    way = Silent()
    with pytest.raises(Unavailable, match=r"wallet\.22") as caught:
        delegate.deposit(known.reader, deposits, {first: 2, second: 2}, way)
    assert caught.value.place == "; ".join(f"{did} test.01" for did in sorted((one, two, three)))
    assert sorted(way.asked) == sorted((entry.custodian, entry.sealed) for entry in deposits), "each once"
    missing = delegate.leave(known.reader, deposits, way)
    assert {(entry.consent, entry.custodian, entry.code) for entry in missing} == {
        (entry.consent, entry.custodian, "test.01") for entry in deposits
    }
    assert delegate.deposit(known.reader, [], {}, way) == []
    assert delegate.leave(known.reader, [], way) == []

    def lacks(*pairs: tuple[bytes, Did]) -> list[Missing]:
        found = [Missing(consent=consent, custodian=did, code="test.01") for consent, did in pairs]
        monkeypatch.setattr(delegate, "leave", lambda *_: found)
        return delegate.deposit(known.reader, deposits, {first: 2, second: 2}, way)

    assert len(lacks((first, one), (second, two))) == 2, "each is left two of three"
    with pytest.raises(Unavailable) as caught:
        lacks((first, one), (second, three), (second, two))
    assert caught.value.place == "; ".join(f"{did} test.01" for did in sorted((two, three)))


def test_a_permit_says_what_may_be_written(known: Known) -> None:
    state, keys = known.wallet.state, known.located.keys
    stream = replace(known.located.stream, serial=6)
    kept = Custody(custodians=[known.did("payer"), known.did("hospital")], threshold=1)
    made = enrol.permitted("chain", known.did("practice"), stream, keys, kept, Writing(until=DAY_S, max_segments=5))
    signed = codec.decode_as(made.permit, SignedPermit)
    assert made == replace(stream, serial=7, permit=made.permit)
    assert codec.decode_as(signed.permit, Permit) == Permit(
        chain="chain",
        stream=known.stream,
        key=keys.signing(0).public,
        rotation=0,
        source=known.did("practice"),
        epoch=0,
        reading_key=keys.reading(0).public,
        custodians=sorted([known.did("payer"), known.did("hospital")]),
        threshold=1,
        serial=7,
        until=DAY_S,
        max_segments=5,
    )
    assert (Custody(custodians=[]).threshold, Writing(until=0).max_segments) == (2, 4096)
    enrolled = enrol.enrol(state, known.reader, known.did("hospital"), ["imaging", "conditions"],
                           Custody(custodians=[known.did("payer")], threshold=1), Writing(until=DAY_S))  # fmt: skip
    permits = {entry.category: codec.decode_as(entry.permit.permit, Permit) for entry in enrolled.profile.entries}
    assert list(permits) == ["imaging", "conditions"]
    assert (permits["imaging"].custodians, permits["imaging"].threshold) == ([known.did("payer")], 1)
    where = standing(known.reader, known.located)
    assert (permits["conditions"].custodians, permits["conditions"].threshold) == (where.custodians, 2)
    assert len(enrolled.state.relationships) == len(state.relationships)
    assert [stream.category for stream in enrolled.state.relationships[0].streams] == [
        stream.category for stream in state.relationships[0].streams
    ]


def test_a_permit_for_a_stream_that_is_there_keeps_its_threshold(known: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    there = streams.stream(known.reader, known.stream)
    assert there is not None
    monkeypatch.setattr(streams, "stream", lambda *_: replace(there, threshold=3))
    enrolled = enrol.enrol(known.wallet.state, known.reader, known.did("hospital"), ["conditions"],
                           Custody(custodians=[known.did("payer")], threshold=1), Writing(until=DAY_S))  # fmt: skip
    [entry] = enrolled.profile.entries
    assert codec.decode_as(entry.permit.permit, Permit).threshold == 3


def test_a_new_epoch_has_a_key_and_a_permit_of_its_own(known: Known) -> None:
    begun, message = epoch.beginning(known.wallet.state, known.reader, known.stream, Writing(until=DAY_S))
    key = known.located.keys.reading(1).public
    opened = streams.stream(known.reader, known.stream)
    assert opened is not None
    assert isinstance(message, NewEpoch)
    assert (message.stream, message.reading_key) == (known.stream, key)
    assert message.permit == codec.decode_as(begun.stream.permit, SignedPermit)
    assert message.permit is not None
    permit = codec.decode_as(message.permit.permit, Permit)
    assert (permit.epoch, permit.reading_key, permit.serial) == (1, key, opened.serial + 1)
    assert (permit.custodians, permit.threshold, permit.source) == (opened.custodians, 2, known.did("hospital"))
    assert (begun.member, begun.stream.epoch, begun.stream.serial) == (known.did("hospital"), 1, permit.serial)


def test_what_is_revoked_already_is_not_revoked_again(known: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    state, of = known.wallet.state, known.consents
    strange = replace(known.record.items[0], consent=bytes(32))
    record = replace(known.record, items=[*known.record.items, strange])
    decode = known.mesh.engine.machine.codec.decode

    def sent() -> list[object]:
        raws = revoke.revocations(state, record, known.reader, known.sponsor, known.at)
        return [message for raw in raws for message in decode(raw).tx.msgs]

    assert sent() == [Revoke(consent=consent) for consent in of.values()]
    true, conditions = consents.consent, of["conditions"]

    def one_is(reader: Any, consent: bytes) -> Any:
        found = true(reader, consent)
        return replace(found, status="revoked") if found is not None and consent == conditions else found

    monkeypatch.setattr(consents, "consent", one_is)
    assert sent() == [Revoke(consent=of["laboratory"])]


def test_an_error_of_a_custodian_is_its_code(known: Known) -> None:
    [custodian, *_] = standing(known.reader, known.located).custodians
    pending = PendingDeposit(consent=bytes(32), custodian=custodian, what=bytes(32), sealed=b"")

    class Broken:
        def deposit(self, _: Did, __: bytes) -> bytes:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        delegate.leave(known.reader, [pending], Broken())
    nobody = replace(pending, custodian="did:caremesh:caremesh-local:" + "a" * 32)
    [missing] = delegate.leave(known.reader, [nobody], Silent())
    assert (missing.code, missing.custodian) == ("wallet.13", nobody.custodian)
    assert issubclass(Unavailable, CareMeshError)
