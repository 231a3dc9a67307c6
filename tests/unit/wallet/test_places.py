"""Every refusal of the wallet says what it is about: a member, a stream, a segment, a field."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from caremesh import codec
from caremesh.contracts.members.messages import Reinstate, Suspend
from caremesh.contracts.streams.messages import SetCustodians
from caremesh.crypto.keys import SigningKey
from caremesh.errors import CareMeshError
from caremesh.node.founding import CHAIN
from caremesh.sealing import custody
from caremesh.sealing.custody import Acknowledgement, DestroyConfirmation, LogAnswer, SealAnswer, StreamRequest
from caremesh.sealing.release_log import START, LogHead
from caremesh.types import DAY_S, Did
from caremesh.wallet import audit_proof, change, delegate, dispute, enrol, epoch, logs, members, share, standing
from caremesh.wallet import state as states
from caremesh.wallet.asking import ask
from caremesh.wallet.change import Narrower
from caremesh.wallet.enrol import Custody, Writing
from caremesh.wallet.reseal import Record
from caremesh.wallet.revoke import check_confirmation
from caremesh.wallet.store import WalletFile
from caremesh.wallet.transact import signed
from tests.support.case import Case
from tests.support.patient import Way

NOBODY = "did:caremesh:caremesh-local:" + "a" * 32
DAY = Writing(until=9_000 * DAY_S * 3)


def told(attempt: Callable[[], object]) -> tuple[str, str]:
    """(code, place) of the refusal."""
    with pytest.raises(CareMeshError) as caught:
        attempt()
    return caught.value.code, caught.value.place


def node_key(case: Case, did: Did) -> SigningKey:
    return next(member.home.node_key for member in case.mesh.members.values() if member.home.did == did)


@pytest.fixture
def custodian(case: Case) -> Did:
    return min(case.mesh.custodians)


def test_of_what_a_custodian_says_the_custodian(case: Case, custodian: Did) -> None:
    reader, key, other = case.reader, node_key(case, custodian), SigningKey.generate()
    said = DestroyConfirmation(consent=bytes(32), custodian=custodian, at=7)

    def confirmed(value: DestroyConfirmation, signer: SigningKey = key, cut: int = 0) -> tuple[str, str]:
        answer = codec.encode(custody.sign_payload(custody.DESTROY_CONFIRMATION, value, signer))
        return told(lambda: check_confirmation(reader, bytes(32), custodian, answer[: len(answer) - cut]))

    answer = codec.encode(custody.sign_payload(custody.DESTROY_CONFIRMATION, said, key))
    assert check_confirmation(reader, bytes(32), custodian, answer) == 7
    assert confirmed(said, cut=1) == ("custody.01", custodian)
    assert confirmed(said, other) == ("custody.02", custodian)
    assert confirmed(replace(said, consent=b"c" * 32)) == ("wallet.26", custodian)
    assert confirmed(replace(said, custodian=case.did("practice"))) == ("wallet.26", custodian)
    assert told(lambda: check_confirmation(reader, bytes(32), NOBODY, answer)) == ("wallet.13", NOBODY)

    def acknowledged(signer: SigningKey = key, cut: int = 0, **changes: Any) -> tuple[str, str]:
        value = replace(Acknowledgement(custodian=custodian, what=bytes(32)), **changes)
        answer = codec.encode(custody.sign_payload(custody.ACKNOWLEDGEMENT, value, signer))
        check = delegate.check_acknowledgement
        return told(lambda: check(reader, custodian, bytes(32), answer[: len(answer) - cut]))

    assert acknowledged(cut=1) == ("custody.01", custodian)
    assert acknowledged(other) == ("custody.02", custodian)
    assert acknowledged(what=b"w" * 32) == ("wallet.23", custodian)
    assert acknowledged(custodian=case.did("practice")) == ("wallet.23", custodian)


def test_of_an_answer_to_the_owner_the_custodian(case: Case, custodian: Did) -> None:
    reader, located, key = case.reader, case.located, node_key(case, custodian)

    def asked(did: Did, cut: int = 0, signer: SigningKey = key, **changes: Any) -> tuple[str, str]:
        def send(_: Did, data: bytes) -> bytes:
            request = codec.decode_as(custody.read_signed(data).payload, StreamRequest)
            said = SealAnswer(stream=request.stream, custodian=did, nonce=request.nonce, seals=[])
            answer = codec.encode(custody.sign_payload(custody.SEAL_ANSWER, replace(said, **changes), signer))
            return answer[: len(answer) - cut]

        domains = custody.SEAL_REQUEST, custody.SEAL_ANSWER
        return told(lambda: ask(reader, located, did, domains, SealAnswer, send, case.clock()))

    assert asked(NOBODY) == ("wallet.13", NOBODY)
    assert asked(custodian, cut=1) == ("custody.01", custodian)
    assert asked(custodian, signer=SigningKey.generate()) == ("custody.02", custodian)
    for other in ({"stream": bytes(32)}, {"custodian": case.did("practice")}, {"nonce": bytes(16)}):
        assert asked(custodian, **other) == ("wallet.30", custodian)


def test_of_a_log_that_was_handed_out_before_the_custodian(case: Case, custodian: Did) -> None:
    said = LogAnswer(
        stream=case.stream, custodian=custodian, nonce=bytes(16), at=1, entries=[], head=LogHead(0, START), anchor=None
    )

    def read(answer: LogAnswer, domain: str = custody.LOG_ANSWER) -> tuple[str, str]:
        given = custody.sign_payload(domain, answer, node_key(case, custodian))
        return told(lambda: logs.read_log(case.reader, given))

    good = custody.sign_payload(custody.LOG_ANSWER, said, node_key(case, custodian))
    assert logs.read_log(case.reader, good).signed == good
    assert read(replace(said, custodian=NOBODY)) == ("wallet.30", NOBODY)
    assert read(replace(said, custodian=case.did("practice"))) == ("custody.02", case.did("practice"))
    assert read(said, custody.SEAL_ANSWER) == ("custody.01", custodian)
    assert told(lambda: logs.read_log(case.reader, replace(good, payload=b"\xa0"))) == ("custody.01", "log")


def test_of_members_the_member(case: Case) -> None:
    payer, regulator = case.did("payer"), case.mesh.member("regulator").home.requester
    assert told(lambda: members.active_member(case.reader, NOBODY)) == ("wallet.13", NOBODY)
    case.mesh.send([regulator], Suspend(member=payer))
    try:
        assert told(lambda: members.active_member(case.reader, payer)) == ("wallet.14", payer)
    finally:
        case.mesh.send([regulator], Reinstate(member=payer))
    assert members.active_member(case.reader, payer).did == payer

    class Nobody:
        did = NOBODY

        def sponsor(self, _: bytes) -> bytes:
            return b""

    message, key = Suspend(member=payer), case.located.keys.signing(0)
    assert told(lambda: signed(case.reader, CHAIN, message, key, Nobody(), 1)) == ("wallet.13", NOBODY)
    where = standing.standing(case.reader, case.located)
    lost = replace(where, custodians=[*where.custodians, NOBODY])
    receiving = case.mesh.member("practice").home.receiving.public
    assert told(lambda: delegate.delegate(case.reader, case.located, lost, receiving, bytes(32))) == (
        "wallet.13",
        NOBODY,
    )


def test_of_streams_the_stream(case: Case) -> None:
    state, reader, name = case.wallet.state, case.reader, case.stream.hex()
    assert told(lambda: states.locate(state, bytes(32))) == ("wallet.11", bytes(32).hex())
    assert told(lambda: states.share_record(state, b"s" * 16)) == ("wallet.12", (b"s" * 16).hex())
    assert told(lambda: states.read_state(b"\xa0", "mine")) == ("wallet.05", "mine")
    assert told(lambda: states.read_state(codec.encode({"chain": "c", "seed": b""}))) == ("wallet.05", "$.seed")
    other = replace(case.located, keys=states.keys_of(state, case.did("practice")).stream("conditions"))
    assert told(lambda: standing.standing(reader, other)) == ("wallet.25", name)
    assert told(lambda: states.choose(state, ["imaging", "unheard-of"])) == ("wallet.67", "category 2")
    elsewhere = [case.did("practice")]
    assert told(lambda: states.choose(state, ["imaging"], elsewhere)) == ("wallet.67", "category 1")
    [empty] = states.choose(state, ["imaging"])
    unopened = states.locate(state, empty)
    never = replace(unopened, stream=replace(unopened.stream, permit=b""))
    assert told(lambda: standing.standing(reader, never)) == ("wallet.21", empty.hex())
    assert told(lambda: epoch.beginning(state, reader, empty, DAY)) == ("wallet.37", empty.hex())
    terms = case.person.terms("practice", ["imaging"], days=3, future=False)
    assert told(lambda: case.person.grant(terms)) == ("wallet.27", empty.hex())
    to_custodian = case.person.terms("payer", ["conditions"], days=3)
    assert told(lambda: case.person.grant(to_custodian)) == ("wallet.20", name)


def test_of_segments_the_segment(case: Case) -> None:
    reader, stream = case.reader, case.stream
    assert told(lambda: share.listed(reader, stream, [0, 7])) == ("wallet.33", "segment 7")
    assert told(lambda: share.listed(reader, stream, [])) == ("wallet.33", stream.hex())
    assert told(lambda: case.person.drop("conditions", 7, [])) == ("wallet.33", "segment 7")
    case.person.erase("conditions", 0)
    assert told(lambda: share.listed(case.reader, stream, [1, 0])) == ("wallet.33", "segment 0"), "it is erased"
    strange = [Record("Condition", "strange")]
    assert told(lambda: case.person.drop("conditions", 1, strange)) == ("wallet.38", "segment 1")
    whole = [Record("Condition", f"{case.name}-c3")]
    assert told(lambda: case.person.drop("conditions", 1, whole)) == ("wallet.39", "segment 1")


def test_of_days_and_numbers_which(case: Case) -> None:
    shared = case.share()
    reader, state = case.reader, case.wallet.state
    record = states.share_record(state, shared.record.id)
    for attempt in (
        lambda: change.narrowings(state, record, reader, case.clock(), Narrower(until=1)),
        lambda: change.extensions(state, record, reader, case.clock(), 1),
        lambda: enrol.enrol(state, reader, case.did("hospital"), ["imaging"], Custody(custodians=["a"], threshold=1),
                            Writing(until=1)),
    ):  # fmt: skip
        assert told(attempt) == ("wallet.17", "until")
    for custodians, threshold in (([], 0), (["a"], 0), (["a"], 2), (["a", "a"], 1)):
        kept = Custody(custodians=custodians, threshold=threshold)
        assert told(lambda kept=kept: enrol.enrol(state, reader, case.did("hospital"), ["imaging"], kept, DAY)) == (
            "wallet.18",
            f"{threshold} of {len(custodians)}",
        )
    assert told(lambda: enrol.profile_of(state, reader, case.did("practice"))) == ("wallet.21", case.did("practice"))
    assert told(lambda: dispute.prepare(state, reader, bytes(32), "Why?")) == ("wallet.51", "")
    assert told(lambda: audit_proof.read(b"\xff"))[0] == "wallet.50"
    assert told(lambda: audit_proof.read(codec.encode({"v": 1, "chain": 7}))) == ("wallet.50", "$.chain")


def test_of_a_grantee_that_became_a_custodian_the_stream(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case.share()
    practice = case.did("practice")
    where = standing.standing(case.reader, case.located)
    message = SetCustodians(stream=case.stream, custodians=sorted([*where.custodians[:2], practice]), threshold=2)
    raw = signed(case.reader, CHAIN, message, case.located.keys.signing(0), case.sponsor, case.clock())
    [committed] = case.ledger.submit([raw])
    assert committed.code.startswith("streams."), "the ledger itself does not let it"
    monkeypatch.setattr(change, "standing", lambda *_: replace(where, custodians=message.custodians))
    assert told(case.person.redelegate) == ("wallet.20", case.stream.hex())


@pytest.mark.parametrize("fault", ["silent", "garbled"])
def test_of_seals_that_were_not_acknowledged_the_custodians(case: Case, fault: str) -> None:
    code = {"silent": "test.01", "garbled": "custody.01"}[fault]
    one, two, _ = standing.standing(case.reader, case.located).custodians

    class Broken(Way):
        def deposit_reseal(self, custodian: Did, sealed: bytes) -> bytes:
            if fault == "silent" and custodian in (one, two):
                return self.deposit(custodian, sealed)
            answer = super().deposit_reseal(custodian, sealed)
            return answer[:-1] if custodian in (one, two) else answer

    way = Broken(case.mesh, {one: "silent", two: "silent"} if fault == "silent" else {})
    dropped = [Record("Condition", f"{case.name}-c1")]
    found = told(lambda: case.wallet.drop(case.stream, 0, dropped, case.ledger, case.sponsor, way))
    assert found == ("wallet.22", f"{one} {code}; {two} {code}")


def test_of_files_their_names(tmp_path: Path) -> None:
    path = tmp_path / "mine.wallet"
    file = WalletFile.create(path, "a passphrase", b"content")
    assert told(lambda: WalletFile.create(path, "a passphrase", b"")) == ("wallet.08", "mine.wallet")
    assert told(lambda: WalletFile.open(path, "another"))[1] == "mine.wallet"
    assert told(lambda: WalletFile.open(tmp_path / "none", "a")) == ("wallet.07", "none")
    whole = path.read_bytes()
    plain = codec.decode(whole)
    for data in (
        b"",
        codec.encode(plain | {"v": 1, "locked": b"other"}),
        codec.encode(plain | {"content": plain["content"][:-1] + bytes([plain["content"][-1] ^ 1])}),
    ):
        path.write_bytes(data)
        assert told(lambda: WalletFile.open(path, "a passphrase")) == ("wallet.05", "mine.wallet")
    path.write_bytes(codec.encode(plain | {"v": 2}))
    assert told(lambda: WalletFile.open(path, "a passphrase")) == ("wallet.06", "mine.wallet")
    path.write_bytes(whole)
    file.save(b"other")
