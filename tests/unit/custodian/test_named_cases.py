"""Attacks and accidents by name, each over a real mesh: what an attacker, a wrong clock or a long pause gets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import umbral_pre
from msgspec.structs import replace

from caremesh import codec
from caremesh.contracts.identity.messages import Register as RegisterIdentity
from caremesh.contracts.members.messages import Appoint
from caremesh.crypto.keys import SigningKey
from caremesh.crypto.reencryption import seal_hash
from caremesh.crypto.signatures import did_of
from caremesh.custodian.custodian import Custodian
from caremesh.errors import CareMeshError, Refused, Tampered
from caremesh.node.founding import CHAIN
from caremesh.node.mesh import LocalMesh
from caremesh.sealing import custody
from caremesh.sealing.channel import SealingProfile
from caremesh.sealing.custody import FragmentDeposit, ReleaseRequest
from caremesh.sealing.descriptor import read_descriptor
from caremesh.sealing.release_log import START, LogEntry, LogHead, link_of
from caremesh.source.registering import Batch, Ready
from caremesh.testing.clock import SettableClock
from caremesh.types import DAY_S
from caremesh.wallet.logs import StreamLog, own_log
from caremesh.wallet.records import own_seals
from tests.support.case import Case

pytestmark = pytest.mark.slow
HOUR_S = 3_600


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalMesh]:
    with LocalMesh(tmp_path_factory.mktemp("named") / "mesh", SettableClock()) as made:
        yield made


@pytest.fixture
def case(mesh: LocalMesh, tmp_path: Path) -> Case:
    mesh.tick()
    made = Case(mesh, tmp_path)
    made.add(1)
    return made


def request(case: Case, receipt: Any, key: SigningKey, custodian: str = "payer", **changes: Any) -> bytes:
    fields = {
        "receipt": receipt.id, "stream": case.stream, "descriptors": [each.descriptor for each in case.segments()],
        "custodian": case.did(custodian), "nonce": os.urandom(16), "at": case.clock(),
    }  # fmt: skip
    return codec.encode(custody.sign_payload(custody.RELEASE_REQUEST, ReleaseRequest(**(fields | changes)), key))


def refusal(case: Case, raw: bytes, custodian: str = "payer") -> str:
    """The code with which a custodian refuses; nothing is in its log then."""
    keeper = case.mesh.member(custodian).custodian
    before = keeper.log_root()
    with pytest.raises((Refused, Tampered)) as caught:
        keeper.release(raw)
    assert keeper.log_root() == before
    return caught.value.code


@pytest.mark.promise("P2")
def test_a_copied_seal_opens_nothing_in_another_stream(case: Case, tmp_path: Path) -> None:
    """An attacker has a victim's seal, a source that helps, and a stream of their own that they may grant."""
    [victims] = own_seals(case.reader, case.located, case.mesh, case.clock()).segments
    attacker = Case(case.mesh, tmp_path)
    source = case.mesh.member("hospital").source(case.mesh)
    copied = replace(read_descriptor(victims.held.descriptor), stream=attacker.stream)
    descriptor = codec.encode(copied)
    for store in case.mesh.stores():
        store.put(attacker.stream, codec.cid_of_cbor(descriptor), descriptor)
    ready = Ready(
        category="conditions",
        descriptor=descriptor,
        descriptor_cid=codec.cid_of_cbor(descriptor),
        seal=victims.held.seal,
        seal_hash=seal_hash(victims.held.seal),
        size_class=copied.size_class,
        reading_key=attacker.located.keys.reading(0).public,
    )
    stored = case.mesh.member("hospital").home.vault.get(f"profile/{attacker.name}")
    profile = codec.decode_as(stored or b"", SealingProfile)
    source._registrar.register([Batch(attacker.name, profile, [ready], {})], {}, lambda *_: None)
    with pytest.raises(CareMeshError, match=r"gateway\.0[26]"):
        attacker.read(attacker.share())
    with pytest.raises(Tampered, match=r"reencryption\.03"):
        attacker.person.records("conditions")
    theirs = victims.held.descriptor
    uncopied = replace(ready, descriptor=theirs, descriptor_cid=codec.cid_of_cbor(theirs))
    with pytest.raises(CareMeshError, match=r"source\.02"):  # custodians see whose descriptor it is
        source._registrar.register([Batch(attacker.name, profile, [uncopied], {})], {}, lambda *_: None)
    again = replace(ready, descriptor_cid=codec.cid_of_cbor(b"\xa0"))
    with pytest.raises(CareMeshError, match=r"source\.0[23]"):
        source._registrar.register([Batch(attacker.name, profile, [again], {})], {}, lambda *_: None)


@pytest.mark.promise("P2")
@pytest.mark.parametrize(("delegating", "receiving"), [(True, False), (False, True), (False, False)])
def test_a_fragment_that_does_not_sign_both_keys_is_not_taken(case: Case, delegating: bool, receiving: bool) -> None:
    payer, practice = case.mesh.member("payer").home, case.mesh.member("practice").home
    reading, signer = case.located.keys.reading(0), umbral_pre.Signer(umbral_pre.SecretKey.random())
    to = umbral_pre.PublicKey.from_compressed_bytes(practice.receiving.public)
    made = umbral_pre.generate_kfrags(reading.handle, to, signer, 2, 3, delegating, receiving)
    deposit = FragmentDeposit(
        consent=bytes(32),
        stream=case.stream,
        epoch=0,
        custodian=payer.did,
        fragment=bytes(made[0]),
        delegating=reading.public,
        receiving=practice.receiving.public,
        verifying=signer.verifying_key().to_compressed_bytes(),
    )
    signed = custody.sign_payload(custody.FRAGMENT_DEPOSIT, deposit, case.located.keys.signing(0))
    sealed = custody.seal_to_custodian(custody.FRAGMENT_DEPOSIT, payer.hpke_public, payer.did, signed)
    with pytest.raises((Refused, Tampered), match=r"reencryption\.0[56]"):
        case.mesh.deposit(payer.did, sealed)
    assert case.fragments(bytes(32)) == 0


@pytest.mark.promise("P3")
@pytest.mark.parametrize(("off_s", "code"), [(HOUR_S, "custodian.01"), (-HOUR_S, "custodian.02")])
def test_a_custodian_whose_clock_is_an_hour_off_releases_nothing(case: Case, off_s: int, code: str) -> None:
    shared = case.share()
    receipt = case.ask(shared.record.items[0].consent)
    keeper = case.mesh.member("payer").custodian
    right = keeper._clock
    keeper._clock = lambda: right() + off_s
    try:
        assert refusal(case, request(case, receipt, case.doctor.key, at=right() + off_s)) == code
        assert case.read(shared) == [1], "the other two are enough"
    finally:
        keeper._clock = right


@pytest.mark.promise("P3")
@pytest.mark.parametrize("off_s", [HOUR_S, -HOUR_S])
def test_a_requester_and_a_wallet_whose_clock_is_an_hour_off_get_nothing(case: Case, off_s: int) -> None:
    shared = case.share()
    receipt = case.ask(shared.record.items[0].consent)
    assert refusal(case, request(case, receipt, case.doctor.key, at=case.clock() + off_s)) == "custodian.19"
    wallet, height = case.wallet, case.mesh.engine.status().height
    right = wallet._clock
    wallet._clock = lambda: right() + off_s
    try:
        with pytest.raises(CareMeshError, match=r"ledger\.|transactions\."):
            wallet.revoke(shared.record.id, case.ledger, case.sponsor)
    finally:
        wallet._clock = right
    assert case.consent(shared).status == "granted"
    assert case.mesh.engine.status().height >= height
    case.person.revoke(shared.record.id)
    assert case.consent(shared).status == "revoked", "with the right time it goes"


@pytest.mark.promise("P2")
def test_a_receipt_of_anothers_opens_nothing(case: Case, tmp_path: Path) -> None:
    shared = case.share()
    receipt = case.ask(shared.record.items[0].consent)
    practice, colleague = case.mesh.member("practice").home, SigningKey.generate()
    did = did_of(CHAIN, colleague.public)
    from caremesh.gateway.ask import Requester

    person = Requester(did, colleague)
    register = RegisterIdentity(did=did, key=colleague.public, kind="practitioner")
    until = (case.clock() // DAY_S + 9) * DAY_S
    appoint = Appoint(practitioner=did, roles=["physician"], licensed_until=until)
    assert case.mesh.send([person, practice.requester], register).code == ""
    assert case.mesh.send([practice.requester], appoint).code == ""
    assert refusal(case, request(case, receipt, colleague)) == "custody.02", "a colleague of the same practice"
    assert refusal(case, request(case, receipt, practice.node_key)) == "custody.02", "the practice itself"
    other = Case(case.mesh, tmp_path)
    other.add(1)
    theirs = other.ask(other.share().record.items[0].consent)
    assert refusal(case, request(case, theirs, case.doctor.key)) == "custodian.11", "a receipt of another stream"


@pytest.mark.promise("P2")
def test_a_request_and_a_deposit_for_another_recipient_are_refused(case: Case) -> None:
    shared = case.share()
    receipt = case.ask(shared.record.items[0].consent)
    raw = request(case, receipt, case.doctor.key, custodian="laboratory")
    assert refusal(case, raw, "payer") == "custodian.18"
    sealed = custody.seal_to_custodian(
        custody.FRAGMENT_DEPOSIT,
        case.mesh.member("laboratory").home.hpke_public,
        case.did("laboratory"),
        custody.read_signed(raw),
    )
    with pytest.raises(Tampered, match=r"custody\.03"):
        case.mesh.deposit(case.did("payer"), sealed)


@pytest.mark.promise("P3")
def test_idle_for_two_hours_then_a_release(case: Case) -> None:
    """No block for two hours, so no custodian knows what is so; then a block, and the receipt is old."""
    shared = case.share()
    receipt = case.ask(shared.record.items[0].consent)
    assert case.open(receipt) == [1]
    case.clock.advance(2 * HOUR_S)
    assert refusal(case, request(case, receipt, case.doctor.key)) == "custodian.01"
    case.mesh.tick()
    assert refusal(case, request(case, receipt, case.doctor.key)) == "custodian.04"
    assert case.read(shared) == [1], "a new receipt opens again, with no more fuss"


@pytest.mark.promise("P2")
def test_a_replayed_release_request_is_refused_and_once_forgotten_too_old(case: Case) -> None:
    shared = case.share()
    receipt = case.ask(shared.record.items[0].consent)
    raw = request(case, receipt, case.doctor.key)
    assert case.mesh.member("payer").custodian.release(raw)
    assert refusal(case, raw) == "custodian.19"
    case.clock.advance(61)
    case.mesh.tick()
    case.mesh.member("payer").custodian._answered.clear()
    assert refusal(case, raw) == "custodian.19", "what was forgotten is too old"


@pytest.mark.promise("P3")
def test_a_custodian_that_was_started_again_answers_nothing_from_before(case: Case) -> None:
    member = case.mesh.member("payer")
    shared = case.share()
    raw = request(case, case.ask(shared.record.items[0].consent), case.doctor.key)
    assert member.custodian.release(raw)
    case.clock.advance(1)
    again = Custodian(
        did=member.home.did,
        key=member.home.node_key,
        hpke_private=member.home.hpke_private,
        vault=member.home.vault,
        log=member.log,
        ledger=member.ledger.copy,
        clock=case.clock,
    )
    with pytest.raises(Refused, match=r"custodian\.19"):
        again.release(raw)


@pytest.mark.promise("P2")
@pytest.mark.parametrize("lie", ["forks", "reorders", "omits", "hides the anchor"])
def test_what_a_custodian_has_anchored_it_cannot_tell_otherwise(case: Case, lie: str) -> None:
    """The patient sees whose log is not the one on the ledger; what it signed goes to others as evidence."""
    case.add(2)
    shared = case.share()
    receipt = case.ask(shared.record.items[0].consent)
    keeper = case.mesh.member("payer").custodian
    keeper.release(request(case, receipt, case.doctor.key))
    case.mesh.anchor_logs()
    logs = {did: own_log(case.reader, case.located, did, case.mesh, case.clock()) for did in case.mesh.custodians}

    def findings(told: StreamLog) -> list[tuple[str, str, str]]:
        found = case.wallet.audit(case.reader, list((logs | {keeper.did: told}).values())).findings
        mine = [each for each in found if each.stream == case.stream]
        assert all((each.claim is None) == (told.anchor is None) for each in mine)
        return [(each.kind, each.custodian, each.place) for each in mine]

    true = logs[keeper.did]
    first, second = true.entries
    assert true.anchor is not None
    assert findings(true) == []
    if lie == "hides the anchor":
        assert findings(replace(true, anchor=None)) == [("not-anchored", keeper.did, "root")]
        return
    told = {"forks": [replace(first, at=first.at + 1), second], "reorders": [second, first], "omits": [first]}[lie]
    chained: list[LogEntry] = []
    for entry in told:
        link = link_of(chained[-1]) if chained else START
        chained.append(replace(entry, index=len(chained), previous=link))
    head = LogHead(len(chained), link_of(chained[-1]))
    assert findings(replace(true, entries=chained, head=head)) == [("not-anchored", keeper.did, "entry 2")]
