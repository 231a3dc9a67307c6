"""Never locked out: the phrase and the ledger bring back streams, shares, and every record byte for byte."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from caremesh import codec
from caremesh.codec import CID
from caremesh.contracts.consent import queries as consents
from caremesh.contracts.records import queries as records
from caremesh.contracts.records.state import Segment
from caremesh.contracts.streams.messages import Permit
from caremesh.errors import BadInput, Refused, Unavailable
from caremesh.fhir.bundle import read_bundle
from caremesh.fhir.categories import ALL
from caremesh.ledger.state import Reader
from caremesh.sealing.segment import OpenedRecord
from caremesh.types import DAY_S, Did, SignedPermit, StreamId
from caremesh.wallet import restore as restoring
from caremesh.wallet import state as states
from caremesh.wallet.derive import relationship
from caremesh.wallet.enrol import Custody, Writing
from caremesh.wallet.preview import preview
from caremesh.wallet.records import OwnSeals, open_own, own_seals
from caremesh.wallet.wallet import Wallet
from tests.support.patient import Patient, Way, sample


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Patient]:
    patient = Patient(tmp_path_factory.mktemp("restore"), imported=True)
    with patient.mesh:
        way = Way(patient.mesh)
        for terms in (
            patient.terms("laboratory", "medications"),
            patient.terms("conditions", days=9),
            patient.terms("procedures", purposes=["COC"]),
            patient.terms("laboratory", grantee=patient.did("hospital")),
        ):
            patient.wallet.share(terms, patient.ledger, patient.height, patient.sponsor, way)
        yield patient


def restored(patient: Patient, folder: Path) -> Wallet:
    chain = patient.wallet.state.chain
    reader = patient.ledger.reader()
    return Wallet.restore(folder / "again", "new passphrase", patient.phrase, chain, reader, ALL, patient.clock)


def fetch(patient: Patient, cid: CID) -> bytes:
    for store in patient.mesh.stores():
        if store.has(cid):
            return store.get(cid)
    raise AssertionError(cid)


@pytest.mark.promise("P9")
def test_the_phrase_alone_brings_back_streams_and_shares(patient: Patient, tmp_path: Path) -> None:
    before = patient.wallet.state
    wallet = restored(patient, tmp_path)
    reader = patient.ledger.reader()
    written = {
        located.stream.id: located.stream.category
        for located in states.streams(before)
        if records.count(reader, located.stream.id) or consents.of_stream(reader, located.stream.id)
    }
    found = {located.stream.id: located.stream.category for located in states.streams(wallet.state)}
    assert found == written
    assert len(found) >= 14
    assert {entry.member for entry in wallet.state.relationships} == {patient.did("hospital")}
    assert wallet.state.seed == before.seed
    acts = {frozenset(item.consent for item in record.items) for record in before.shares}
    assert {frozenset(item.consent for item in record.items) for record in wallet.state.shares} == acts
    assert Wallet.open(tmp_path / "again", "new passphrase", before.chain, patient.clock).state == wallet.state


@pytest.mark.promise("P9")
def test_every_record_opens_again_byte_for_byte(patient: Patient, tmp_path: Path) -> None:
    wallet = restored(patient, tmp_path)
    opened: list[OpenedRecord] = []
    for located in states.streams(wallet.state):
        seals = own_seals(patient.ledger.reader(), located, Way(patient.mesh), patient.clock())
        assert seals.faults == []
        for segment in seals.segments:
            opened += open_own(located, segment, lambda cid: fetch(patient, cid))
    originals = sorted(resource.data for resource in read_bundle(sample()[0]).records)
    assert sorted(record.data for record in opened) == originals


@pytest.mark.promise("P3")
def test_a_restored_wallet_can_revoke_and_share(patient: Patient, tmp_path: Path) -> None:
    wallet = restored(patient, tmp_path)
    record = next(entry for entry in wallet.state.shares if entry.grantee == patient.did("hospital"))
    wallet.revoke(record.id, patient.ledger, patient.sponsor)
    consent = consents.consent(patient.ledger.reader(), record.items[0].consent)
    assert consent is not None
    assert consent.status == "revoked"
    terms = patient.terms("imaging", streams=states.choose(wallet.state, ["imaging"]))
    shared = wallet.share(terms, patient.ledger, patient.height, patient.sponsor, Way(patient.mesh))
    assert wallet.state.shares[-1] == shared.record


def test_what_was_revoked_is_not_one_share_with_what_was_granted_again(patient: Patient, tmp_path: Path) -> None:
    shared = []
    for category in ("claims", "documents"):
        terms = patient.terms(category, days=20)
        done = patient.wallet.share(terms, patient.ledger, patient.height, patient.sponsor, Way(patient.mesh))
        shared.append(done.record)
    patient.wallet.revoke(shared[0].id, patient.ledger, patient.sponsor)
    acts = [{item.consent for item in record.items} for record in restored(patient, tmp_path).state.shares]
    assert {shared[0].items[0].consent} in acts
    assert {shared[1].items[0].consent} in acts


def test_permits_of_a_restored_wallet_never_reuse_a_serial(patient: Patient, tmp_path: Path) -> None:
    """The lost wallet may have signed one that the ledger has not seen."""
    wallet = restored(patient, tmp_path)
    custody = Custody(custodians=sorted(patient.mesh.custodians), threshold=2)
    writing = Writing(until=(patient.clock() // DAY_S + 9) * DAY_S)
    reader = patient.ledger.reader()
    lost = patient.wallet.enrol(reader, patient.did("hospital"), ["laboratory"], custody, writing)
    new = wallet.enrol(reader, patient.did("hospital"), ["laboratory"], custody, replace(writing, until=0))

    def serial(signed: SignedPermit) -> int:
        return codec.decode_as(signed.permit, Permit).serial

    assert lost.profile.entries[0].stream == new.profile.entries[0].stream
    assert serial(new.profile.entries[0].permit) > serial(lost.profile.entries[0].permit)


def test_a_phrase_that_is_nobodys_restores_an_empty_wallet(patient: Patient, tmp_path: Path) -> None:
    phrase = " ".join(["abandon"] * 23 + ["art"])
    chain, reader = patient.wallet.state.chain, patient.ledger.reader()
    wallet = Wallet.restore(tmp_path / "w", "passphrase", phrase, chain, reader, ALL, patient.clock)
    assert (wallet.state.relationships, wallet.state.shares) == ([], [])
    with pytest.raises(BadInput, match=r"wallet\.03"):
        Wallet.restore(tmp_path / "v", "passphrase", phrase.replace("art", "able"), chain, reader, ALL, patient.clock)
    assert not (tmp_path / "v").exists()
    with pytest.raises(Refused, match=r"wallet\.08"):
        Wallet.restore(tmp_path / "w", "passphrase", phrase, chain, reader, ALL, patient.clock)


@pytest.mark.promise("P9")
@pytest.mark.parametrize(
    ("counters", "found"),
    [
        ([(0, 0)], [(0, 0)]),
        ([(0, 0), (0, 1), (1, 0)], [(0, 0), (0, 1), (1, 0)]),
        ([(0, 2), (2, 2)], [(0, 2), (2, 2)]),
        ([(0, 0), (3, 0)], [(0, 0), (3, 0)]),
        ([(0, 2), (0, 5)], [(0, 2), (0, 5)]),
        ([(0, 0), (0, 4)], [(0, 0)]),
        ([(2, 0)], [(2, 0)]),
        ([(3, 0)], []),
    ],
)
def test_counters_are_tried_until_three_in_a_row_are_missing(
    patient: Patient, counters: list[tuple[int, int]], found: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = bytes(range(32))
    member: Did = patient.did("hospital")
    open_streams = {relationship(seed, member, who).stream("imaging", what).id: (who, what) for who, what in counters}
    template = restoring.streams.stream(patient.ledger.reader(), states.choose(patient.wallet.state, ["imaging"])[0])
    assert template is not None

    def stream(_: object, identity: bytes) -> object:
        return replace(template, id=identity) if identity in open_streams else None

    monkeypatch.setattr(restoring.streams, "stream", stream)
    state = restoring.restore("chain", seed, patient.ledger.reader(), ["laboratory", "imaging"])
    got = [(entry.counter, one.counter) for entry in state.relationships for one in entry.streams]
    assert got == found
    assert all(located.keys.id == located.stream.id for located in states.streams(state))


def test_an_erased_segment_is_not_asked_for(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    true = records.segments

    def erased(reader: Reader, stream: StreamId) -> list[Segment]:
        return [replace(segment, status="erased") for segment in true(reader, stream)]

    monkeypatch.setattr(records, "segments", erased)
    assert seals(patient, {}).segments == []
    (entry,) = patient.wallet.preview(patient.terms("laboratory"), patient.ledger.reader())
    assert entry.segments == []


def test_the_preview_counts_what_is_there(patient: Patient) -> None:
    (entry,) = patient.wallet.preview(patient.terms("laboratory"), patient.ledger.reader())
    assert entry.segments == list(range(records.count(patient.ledger.reader(), entry.stream)))
    assert entry.segments
    later = patient.clock() + 400 * DAY_S
    assert entry.already
    assert preview(patient.wallet.state, patient.terms("laboratory"), patient.ledger.reader(), later)[0].already == []


def test_one_answer_that_is_enough_is_not_followed_by_more_questions(patient: Patient) -> None:
    _, two, three = sorted(patient.mesh.custodians)
    assert seals(patient, {two: "silent", three: "silent"}).faults == []


def seals(patient: Patient, faults: dict[Did, str]) -> OwnSeals:
    (stream,) = states.choose(patient.wallet.state, ["laboratory"])
    located = states.locate(patient.wallet.state, stream)
    return own_seals(patient.ledger.reader(), located, Way(patient.mesh, faults), patient.clock())


@pytest.mark.promise("P6")
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("silent", "test.01"),
        ("swapped", "wallet.28"),
        ("replayed", "wallet.30"),
        ("other key", "custody.02"),
        ("none", None),
    ],
)
def test_one_honest_custodian_is_enough_for_ones_own_seals(patient: Patient, fault: str, code: str | None) -> None:
    one, two, three = sorted(patient.mesh.custodians)
    found = seals(patient, {one: fault, two: fault})
    assert found.segments
    assert found.faults == ([(one, code), (two, code)] if code else [])
    with pytest.raises(Unavailable, match=r"wallet\.29") as caught:
        seals(patient, {one: fault, two: fault, three: fault})
    assert caught.value.place == "segment 0"
