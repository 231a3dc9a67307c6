"""Sharing: fragments first, then consents, all or none of them; and taking back."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from caremesh import codec
from caremesh.consensus.interface import Committed
from caremesh.contracts.consent import queries as consents
from caremesh.contracts.consent.queries import fragment_commitment
from caremesh.contracts.members.messages import Suspend
from caremesh.contracts.streams import queries as streams
from caremesh.crypto.reencryption import check_fragment
from caremesh.errors import BadInput, CareMeshError, Locked, Refused, StorageFailed, Tampered, Unavailable, WrongLedger
from caremesh.fhir.categories import ALL
from caremesh.ledger.state import Reader
from caremesh.ledger.transactions import Signs
from caremesh.node.mesh import LocalMesh
from caremesh.sealing import custody
from caremesh.sealing.channel import hear_share
from caremesh.sealing.custody import DestroyConfirmation, FragmentDeposit
from caremesh.testing.clock import SettableClock
from caremesh.types import DAY_S
from caremesh.wallet import share as sharing
from caremesh.wallet import state as states
from caremesh.wallet.errors import NOT_OPEN
from caremesh.wallet.revoke import check_confirmation
from caremesh.wallet.state import read_state
from caremesh.wallet.store import WalletFile
from caremesh.wallet.wallet import Wallet
from tests.support.patient import PASSPHRASE, Patient, Way

CATEGORIES = ("laboratory", "medications")


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalMesh]:
    with LocalMesh(tmp_path_factory.mktemp("share"), SettableClock()) as mesh:
        yield mesh


@pytest.fixture
def patient(tmp_path: Path, mesh: LocalMesh) -> Patient:
    mesh.confirmations.clear()
    return Patient(tmp_path, mesh)


def share(patient: Patient, way: Way | None = None, *categories: str, **changes: object) -> object:
    terms = patient.terms(*(categories or CATEGORIES), **changes)
    return patient.wallet.share(terms, patient.ledger, patient.height, patient.sponsor, way or Way(patient.mesh))


def saved(patient: Patient) -> states.WalletState:
    return read_state(WalletFile.open(patient.folder / "wallet", PASSPHRASE)[1])


def test_a_share_is_a_consent_a_stream_with_a_fragment_at_every_custodian(patient: Patient) -> None:
    way = Way(patient.mesh)
    terms = patient.terms(*CATEGORIES)
    shared = patient.wallet.share(terms, patient.ledger, patient.height, patient.sponsor, way, "patient 7")
    assert shared.missing == []
    assert saved(patient) == patient.wallet.state
    assert patient.wallet.state.shares == [shared.record]
    assert patient.wallet.state.pending == []
    reader = patient.ledger.reader()
    verifying = set()
    for item in shared.record.items:
        consent = consents.consent(reader, item.consent)
        stream = streams.stream(reader, item.stream)
        assert consent is not None
        assert stream is not None
        assert consents.is_active(consent, patient.clock())
        assert (consent.grantee, consent.explicit, consent.scope.kind) == (terms.grantee, True, "future")
        assert (consent.starts, consent.ends) == (terms.from_, terms.until)
        assert (consent.purposes, consent.actions) == (["TREAT"], ["read"])
        verifying.add(consent.verifying_key)
        for entry in consent.fragments:
            home = next(m.home for m in patient.mesh.members.values() if m.home.did == entry.custodian)
            [name] = home.vault.names(f"fragment/{consent.id.hex()}/")
            stored = codec.decode(home.vault.get(name) or b"")["deposit"]
            kept = codec.decode_as(codec.encode(stored), FragmentDeposit)
            check_fragment(kept.fragment, consent.verifying_key, stream.reading_key, consent.receiving_key)
            assert entry.commitment == fragment_commitment(consent.id, entry.custodian, stream.epoch, kept.fragment)
    assert len(verifying) == 2, "a signer used twice would tie two streams together"
    practice = patient.mesh.member("practice").home
    told = hear_share(patient.wallet.state.chain, practice.did, practice.hpke_private, shared.message)
    assert told.subject == "patient 7"
    assert [(item.category, item.consent) for item in told.streams] == [
        (item.category, item.consent) for item in shared.record.items
    ]


@pytest.mark.promise("P1")
def test_nothing_on_the_ledger_or_at_a_custodian_joins_two_streams_of_one_person(patient: Patient) -> None:
    seen: list[bytes] = []
    submit = patient.ledger.submit_batch

    class Watched:
        def reader(self) -> Reader:
            return patient.ledger.reader()

        def submit_batch(self, transactions: Sequence[bytes]) -> list[Committed]:
            seen.extend(transactions)
            return submit(transactions)

    way = Way(patient.mesh)
    terms = patient.terms(*CATEGORIES)
    shared = patient.wallet.share(terms, Watched(), patient.height, patient.sponsor, way)
    first, second = shared.record.items
    for raw in [*seen, *(sealed for _, sealed in way.deposits)]:
        assert not (first.stream in raw and second.stream in raw)
        assert first.category.encode() not in raw
        assert shared.record.id not in raw
    assert len(seen) == 2, "messages of a subject travel one to a transaction"


@pytest.mark.promise("P10")
@pytest.mark.parametrize("fault", ["silent", "garbled", "other key", "other deposit"])
def test_one_custodian_of_three_may_fail_and_is_tried_again(patient: Patient, fault: str) -> None:
    broken = sorted(patient.mesh.custodians)[1]
    way = Way(patient.mesh, {broken: fault})
    terms = patient.terms(*CATEGORIES)
    shared = patient.wallet.share(terms, patient.ledger, patient.height, patient.sponsor, way)
    assert {(entry.custodian) for entry in shared.missing} == {broken}
    expected = {"silent": "test.01", "garbled": "custody.01", "other key": "custody.02", "other deposit": "wallet.23"}
    assert {entry.code for entry in shared.missing} == {expected[fault]}
    assert len(saved(patient).pending) == 2
    assert len(patient.wallet.deposit_again(patient.ledger.reader(), way)) == 2
    assert len(saved(patient).pending) == 2
    assert patient.wallet.deposit_again(patient.ledger.reader(), Way(patient.mesh)) == []
    assert saved(patient).pending == []


@pytest.mark.promise("P3")
def test_a_fragment_of_a_consent_that_is_over_is_not_left_any_more(patient: Patient) -> None:
    broken = sorted(patient.mesh.custodians)[1]
    way = Way(patient.mesh, {broken: "silent"})
    first = patient.wallet.share(patient.terms("laboratory"), patient.ledger, patient.height, patient.sponsor, way)
    patient.wallet.share(patient.terms("imaging", days=1), patient.ledger, patient.height, patient.sponsor, way)
    patient.wallet.revoke(first.record.id, patient.ledger, patient.sponsor)
    patient.clock.advance(2 * DAY_S)
    again = Way(patient.mesh)
    assert patient.wallet.deposit_again(patient.ledger.reader(), again) == []
    assert again.deposits == []
    assert saved(patient).pending == []


def test_with_too_few_custodians_nothing_is_granted(patient: Patient) -> None:
    one, two, _ = sorted(patient.mesh.custodians)
    height = patient.height
    with pytest.raises(Unavailable, match=r"wallet\.22") as caught:
        share(patient, Way(patient.mesh, {one: "silent", two: "garbled"}))
    assert f"{one} test.01; {two} custody.01" == caught.value.place
    assert patient.height == height
    assert saved(patient).shares == []


@pytest.mark.promise("P3")
def test_when_one_consent_is_refused_none_stands(patient: Patient) -> None:
    share(patient, None, "laboratory")
    with pytest.raises(Refused) as caught:
        share(patient, None, "medications", "laboratory", "imaging")
    assert caught.value.code.startswith("consent.")
    record = saved(patient).shares[-1]
    assert [item.category for item in record.items] == ["medications", "imaging"]
    reader = patient.ledger.reader()
    for item in record.items:
        consent = consents.consent(reader, item.consent)
        assert consent is not None
        assert consent.status == "revoked"
    assert len(saved(patient).shares) == 2


def test_a_share_that_is_refused_whole_leaves_nothing(patient: Patient) -> None:
    share(patient, None, "laboratory")
    before = saved(patient)
    with pytest.raises(Refused):
        share(patient, Way(patient.mesh, {sorted(patient.mesh.custodians)[0]: "silent"}), "laboratory")
    assert replace(saved(patient), version=before.version) == before


@pytest.mark.promise("P3")
def test_revoking_ends_every_consent_and_is_confirmed(patient: Patient) -> None:
    shared = patient.wallet.share(
        patient.terms(*CATEGORIES), patient.ledger, patient.height, patient.sponsor, Way(patient.mesh)
    )
    patient.wallet.revoke(shared.record.id, patient.ledger, patient.sponsor)
    reader = patient.ledger.reader()
    for item in shared.record.items:
        consent = consents.consent(reader, item.consent)
        assert consent is not None
        assert consent.status == "revoked"
    confirmed = {
        (said.consent, said.custodian): check_confirmation(reader, said.consent, said.custodian, answer)
        for answer in patient.mesh.confirmations
        for said in [codec.decode_as(custody.read_signed(answer).payload, DestroyConfirmation)]
    }
    assert len(confirmed) == 6
    assert all(abs(at - patient.clock()) < 60 for at in confirmed.values())
    height = patient.height
    patient.wallet.revoke(shared.record.id, patient.ledger, patient.sponsor)
    assert patient.height == height, "what is revoked is not sent again"


def test_a_confirmation_of_something_else_or_by_another_is_refused(patient: Patient) -> None:
    shared = patient.wallet.share(
        patient.terms("laboratory"), patient.ledger, patient.height, patient.sponsor, Way(patient.mesh)
    )
    patient.wallet.revoke(shared.record.id, patient.ledger, patient.sponsor)
    answer = patient.mesh.confirmations[0]
    said = codec.decode_as(custody.read_signed(answer).payload, DestroyConfirmation)
    other = next(did for did in patient.mesh.custodians if did != said.custodian)
    reader = patient.ledger.reader()
    with pytest.raises(Tampered, match=r"wallet\.26"):
        check_confirmation(reader, bytes(32), said.custodian, answer)
    with pytest.raises(Tampered, match=r"custody\.02"):
        check_confirmation(reader, said.consent, other, answer)
    with pytest.raises(Tampered, match=r"custody\.01"):
        check_confirmation(reader, said.consent, said.custodian, answer[:-1])
    key = next(m.home.node_key for m in patient.mesh.members.values() if m.home.did == said.custodian)
    forged = custody.sign_payload(custody.DESTROY_CONFIRMATION, replace(said, custodian=other), key)
    with pytest.raises(Tampered, match=r"wallet\.26"):
        check_confirmation(reader, said.consent, said.custodian, codec.encode(forged))


@pytest.mark.parametrize(
    ("changes", "kind", "code"),
    [
        ({"streams": []}, BadInput, "wallet.19"),
        ({"purposes": []}, BadInput, "wallet.19"),
        ({"actions": ["read", "read"]}, BadInput, "wallet.19"),
        ({"from_": 1}, BadInput, "wallet.17"),
        ({"until": 2**38}, BadInput, "wallet.17"),
        ({"from_": DAY_S, "until": DAY_S}, BadInput, "wallet.17"),
        ({"streams": [bytes(32)]}, Refused, "wallet.11"),
        ({"grantee": "did:caremesh:caremesh-local:" + "a" * 32}, Refused, "wallet.13"),
        ({"grantee": "payer"}, Refused, "wallet.20"),
        ({"future": False}, Refused, "wallet.27"),
    ],
)
def test_terms_that_cannot_be_granted_are_refused_before_anything_is_made(
    patient: Patient, changes: dict[str, object], kind: type[CareMeshError], code: str
) -> None:
    if changes.get("grantee") == "payer":
        changes = {"grantee": patient.did("payer")}
    way = Way(patient.mesh)
    with pytest.raises(kind) as caught:
        share(patient, way, **changes)
    assert caught.value.code == code
    assert way.deposits == []
    assert saved(patient).shares == []


def test_a_stream_that_was_never_enrolled_cannot_be_shared(patient: Patient) -> None:
    state = patient.wallet.state
    stripped = states.with_stream(state, replace(state.relationships[0].streams[0], permit=b""))
    terms = patient.terms(state.relationships[0].streams[0].category)
    with pytest.raises(Refused) as caught:
        sharing.prepare(stripped, terms, patient.ledger.reader(), 0, patient.clock())
    assert caught.value.error is NOT_OPEN


@pytest.mark.promise("P6")
@pytest.mark.parametrize("field", ["key", "reading_key"])
def test_keys_on_the_ledger_that_are_not_ours_stop_a_share(
    patient: Patient, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    share(patient, None, "laboratory")
    true = streams.stream
    other = {"key": patient.mesh.member("payer").home.node_key.public, "reading_key": b"\x02" + bytes(32)}

    def lying(reader: Reader, stream_id: bytes) -> object:
        found = true(reader, stream_id)
        assert found is not None
        return replace(found, **{field: other[field]})

    monkeypatch.setattr(streams, "stream", lying)
    with pytest.raises(Refused, match=r"wallet\.25"):
        share(patient, None, "laboratory", grantee=patient.did("hospital"))


def test_the_preview_shows_what_is_there_and_what_is_granted_already(patient: Patient) -> None:
    shared = patient.wallet.share(
        patient.terms("laboratory"), patient.ledger, patient.height, patient.sponsor, Way(patient.mesh)
    )
    found = patient.wallet.preview(patient.terms("laboratory", "imaging"), patient.ledger.reader())
    by_category = {entry.category: entry for entry in found}
    assert by_category["laboratory"].already == [shared.record.items[0].consent]
    assert by_category["imaging"].already == []
    assert by_category["imaging"].segments == []
    assert by_category["imaging"].source == patient.did("hospital")
    other = patient.wallet.preview(
        patient.terms("laboratory", grantee=patient.did("hospital"), future=False), patient.ledger.reader()
    )
    assert (other[0].already, other[0].future) == ([], False)
    patient.wallet.revoke(shared.record.id, patient.ledger, patient.sponsor)
    assert patient.wallet.preview(patient.terms("laboratory"), patient.ledger.reader())[0].already == []
    with pytest.raises(BadInput, match=r"wallet\.19"):
        patient.wallet.preview(patient.terms("laboratory", purposes=[]), patient.ledger.reader())


@pytest.mark.promise("P5")
def test_a_disk_that_fails_stops_the_share_before_the_ledger(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise StorageFailed(NOT_OPEN, "wallet")

    height, before = patient.height, patient.wallet.state
    with monkeypatch.context() as patch:
        patch.setattr(WalletFile, "save", full)
        with pytest.raises(StorageFailed):
            share(patient)
    assert patient.height == height
    assert patient.wallet.state == before == saved(patient)


@pytest.mark.promise("P5")
def test_a_crash_after_saving_leaves_a_share_that_can_be_revoked(patient: Patient) -> None:
    class Crashing:
        def reader(self) -> Reader:
            return patient.ledger.reader()

        def submit_batch(self, transactions: Sequence[bytes], /) -> list[Committed]:
            patient.ledger.submit_batch(transactions)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        patient.wallet.share(patient.terms(*CATEGORIES), Crashing(), patient.height, patient.sponsor, Way(patient.mesh))
    again = Wallet.open(patient.folder / "wallet", PASSPHRASE, patient.wallet.state.chain, patient.clock)
    (record,) = again.state.shares
    again.revoke(record.id, patient.ledger, patient.sponsor)
    found = [consents.consent(patient.ledger.reader(), item.consent) for item in record.items]
    assert [consent.status for consent in found if consent is not None] == ["revoked", "revoked"]


@pytest.mark.promise("P5")
def test_a_crash_before_the_ledger_leaves_no_fragment_to_be_left_again(patient: Patient) -> None:
    class Crashing:
        def reader(self) -> Reader:
            return patient.ledger.reader()

        def submit_batch(self, _: Sequence[bytes]) -> list[Committed]:
            raise KeyboardInterrupt

    way = Way(patient.mesh, {sorted(patient.mesh.custodians)[0]: "silent"})
    with pytest.raises(KeyboardInterrupt):
        patient.wallet.share(patient.terms("laboratory"), Crashing(), patient.height, patient.sponsor, way)
    assert len(saved(patient).pending) == 1
    assert patient.wallet.deposit_again(patient.ledger.reader(), way) == []
    assert saved(patient).pending == []


@pytest.mark.promise("P1")
def test_consents_are_sent_in_random_order(patient: Patient) -> None:
    seen: list[bytes] = []

    class Watched:
        def reader(self) -> Reader:
            return patient.ledger.reader()

        def submit_batch(self, transactions: Sequence[bytes]) -> list[Committed]:
            seen.extend(transactions)
            return patient.ledger.submit_batch(transactions)

    terms = patient.terms(*ALL[:12])
    shared = patient.wallet.share(terms, Watched(), patient.height, patient.sponsor, Way(patient.mesh))
    sent = [next(item.stream for item in shared.record.items if item.stream in raw) for raw in seen]
    assert sorted(sent) == sorted(terms.streams)
    assert sent != terms.streams


def test_a_sponsor_that_the_ledger_does_not_know_is_refused(patient: Patient) -> None:
    class Nobody:
        did = "did:caremesh:caremesh-local:" + "a" * 32

        def sponsor(self, tx_bytes: bytes, key: Signs) -> bytes:
            return patient.sponsor.sponsor(tx_bytes, key)

    with pytest.raises(Refused, match=r"wallet\.13"):
        patient.wallet.share(patient.terms("laboratory"), patient.ledger, patient.height, Nobody(), Way(patient.mesh))


def test_a_suspended_member_gets_no_share(tmp_path: Path) -> None:
    own = Patient(tmp_path)
    with own.mesh as mesh:
        regulator = mesh.member("regulator").home.requester
        assert mesh.send([regulator], Suspend(member=own.did("practice"))).result.code == ""
        with pytest.raises(Refused, match=r"wallet\.14"):
            share(own)


def test_a_revocation_that_the_ledger_refuses_is_said(patient: Patient) -> None:
    terms = patient.terms("laboratory")
    shared = patient.wallet.share(terms, patient.ledger, patient.height, patient.sponsor, Way(patient.mesh))
    other = Wallet.open(patient.folder / "wallet", PASSPHRASE, patient.wallet.state.chain, patient.clock)

    class Overtaken:
        def reader(self) -> Reader:
            return patient.ledger.reader()

        def submit(self, transactions: Sequence[bytes], /) -> list[Committed]:
            other.revoke(shared.record.id, patient.ledger, patient.sponsor)
            return patient.ledger.submit(transactions)

    with pytest.raises(Refused, match=r"consent\."):
        patient.wallet.revoke(shared.record.id, Overtaken(), patient.sponsor)


def test_an_unknown_share_is_not_revoked(patient: Patient) -> None:
    with pytest.raises(Refused, match=r"wallet\.12"):
        patient.wallet.revoke(bytes(16), patient.ledger, patient.sponsor)


def test_a_wallet_opens_for_its_own_ledger_only(patient: Patient) -> None:
    path = patient.folder / "wallet"
    with pytest.raises(WrongLedger, match=r"wallet\.24"):
        Wallet.open(path, PASSPHRASE, "another", patient.clock)
    with pytest.raises(Locked):
        Wallet.open(path, "another", patient.wallet.state.chain, patient.clock)
    assert Wallet.open(path, PASSPHRASE, patient.wallet.state.chain, patient.clock).state == patient.wallet.state
