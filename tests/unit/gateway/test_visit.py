"""A visit: all receipts at once, renewed silently, followed block by block, and nothing left of it afterwards."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pickle import PickleBuffer

import msgspec
import pytest

from caremesh import codec
from caremesh.consensus.interface import Committed
from caremesh.contracts.access import queries as access
from caremesh.contracts.consent import queries as consents
from caremesh.contracts.consent.messages import Narrow, Revoke
from caremesh.contracts.members.messages import Reinstate, Suspend, SuspendPerson
from caremesh.contracts.network.messages import Brake
from caremesh.contracts.records.messages import Erase
from caremesh.contracts.streams.messages import NewEpoch
from caremesh.crypto.reencryption import ReadingKey
from caremesh.custodian.errors import NO_FRAGMENT
from caremesh.errors import BadInput, CareMeshError, Refused, Unavailable
from caremesh.fhir.bundle import read_bundle
from caremesh.gateway import visit as visits
from caremesh.gateway.gather import OneByOne, ReleaseCustodian
from caremesh.gateway.holding import HeldRecord
from caremesh.gateway.session import sign_in
from caremesh.gateway.visit import Purpose, Visit
from caremesh.node.founding import CHAIN
from caremesh.sealing import custody
from caremesh.sealing.custody import ReleaseRequest
from caremesh.types import DAY_S
from tests.support.clinic import BASIS, CATEGORIES, Clinic
from tests.support.patient import sample


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinic]:
    made = Clinic(tmp_path_factory.mktemp("clinic"))
    yield made
    made.mesh.close()


@pytest.fixture
def visit(clinic: Clinic) -> Iterator[Visit]:
    """A visit over three categories, opened; the share is taken back afterwards."""
    clinic.mesh.tick()
    shared = clinic.share()
    begun = clinic.visit()
    begun.open()
    yield begun
    begun.close()
    clinic.mesh.tick()
    clinic.patient.person.revoke(shared.record.id)


def held(visit: Visit) -> list[HeldRecord]:
    return [record for category in CATEGORIES for record in visit.records(category)]


def is_gone(record: HeldRecord, view: memoryview) -> bool:
    """Zeros where the plaintext was, and the view that was lent is dead."""
    with pytest.raises(Refused, match=r"gateway\.09"):
        _ = record.data
    with pytest.raises(ValueError, match="released"):
        view.tobytes()
    names = (record.media_type, record.resource_type, record.id, record.version, record.last_updated)
    return not any(record._bytes) and names == ("",) * 5


def codes(visit: Visit) -> list[tuple[str, str]]:
    return [(ended.category, ended.error.code) for ended in visit.ended]


@pytest.mark.promise("P2")
def test_one_click_opens_all_that_is_shared_byte_for_byte(visit: Visit) -> None:
    originals = {resource.data for resource in read_bundle(sample()[0]).records}
    assert all(visit.records(category) for category in CATEGORIES)
    assert {record.data.tobytes() for record in held(visit)} <= originals
    assert all(msgspec.json.decode(record.data)["id"] == record.id for record in held(visit))
    assert {record.category for record in visit.records("laboratory")} == {"laboratory"}
    assert repr(held(visit)[0]) == "HeldRecord(…)"


@pytest.mark.promise("P1")
def test_receipts_come_in_one_block_and_each_in_a_transaction_of_its_own(clinic: Clinic, visit: Visit) -> None:
    receipts = [grounds.receipt for grounds in visit.grounds]
    assert len(receipts) == len({receipt.stream for receipt in receipts}) == 3
    [height] = {receipt.height for receipt in receipts}
    block = next(iter(clinic.mesh.engine.blocks(height)))
    assert len(block.txs) == 3


@pytest.mark.promise("P2")
def test_permission_and_legal_basis_are_two_things_and_both_are_recorded(clinic: Clinic, visit: Visit) -> None:
    for grounds in visit.grounds:
        given = access.receipt(clinic.mesh.engine.reader(), grounds.receipt.id)
        assert given == grounds.receipt
        assert (given.purpose, given.legal_basis) == ("TREAT", BASIS)
        assert given.policies
        consent = consents.consent(clinic.mesh.engine.reader(), given.consent)
        assert consent is not None
        assert (consent.stream, consent.ends) == (given.stream, grounds.until)


@pytest.mark.promise("P2")
def test_a_key_of_the_session_asks_and_opens_for_the_practitioner(clinic: Clinic, visit: Visit) -> None:
    session = clinic.gateway.sign_in(clinic.doctor)
    with clinic.visit(session) as other:
        assert {grounds.receipt.visit_key for grounds in other.grounds} == {session.key.public}
        assert {grounds.receipt.requester for grounds in other.grounds} == {clinic.doctor.did}
        opened = other.open()
        assert [len(each.released_by) for each in opened] == [2, 2, 2]
        assert len(held(other)) == len(held(visit))
    with pytest.raises(BadInput, match=r"gateway\.13"):
        sign_in(CHAIN, clinic.doctor, clinic.practice.home.did, clinic.clock(), 12 * 3_600 + 1)
    with pytest.raises(BadInput, match=r"gateway\.13"):
        sign_in(CHAIN, clinic.doctor, clinic.practice.home.did, clinic.clock(), 0)
    over = sign_in(CHAIN, clinic.doctor, clinic.practice.home.did, clinic.clock() - 600, 300)
    with pytest.raises(Refused, match=r"gateway\.05.*access\.18"):
        clinic.visit(over)


@pytest.mark.promise("P2")
def test_receipts_are_renewed_silently_before_they_end(clinic: Clinic, visit: Visit) -> None:
    before = {grounds.receipt.id for grounds in visit.grounds}
    visit.keep()
    assert {grounds.receipt.id for grounds in visit.grounds} == before, "half of their life is left"
    clinic.pass_time(451)
    visit.keep()
    renewed = [grounds.receipt for grounds in visit.grounds]
    assert {receipt.first for receipt in renewed} == before
    assert not before & {receipt.id for receipt in renewed}
    reader = clinic.mesh.engine.reader()
    assert {access.visits(reader, receipt.consent) for receipt in renewed} == {1}
    clinic.pass_time(460)  # the first receipts are over
    assert len(visit.grounds) == 3
    assert held(visit)


@pytest.mark.promise("P2")
def test_a_visit_that_is_entered_renews_itself(clinic: Clinic, visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visits, "KEEP_EVERY_S", 0.001)
    renewed, keep = threading.Event(), visit.keep

    def kept() -> None:
        keep()
        renewed.set()

    monkeypatch.setattr(visit, "keep", kept)
    clinic.clock.advance(451)
    before = {grounds.receipt.id for grounds in visit.grounds}
    with visit:
        assert renewed.wait(30)
        [mine] = [thread for thread in threading.enumerate() if thread.name == "visit"]
        assert mine.daemon, "a visit that nobody left does not keep the process"
    assert not before & {entry.receipt.id for entry in visit._entries}


def test_renewals_wait_for_company_under_a_name_that_tells_nothing(
    clinic: Clinic, visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    subjects: list[bytes] = []
    ledger = clinic.practice.ledger
    submit = ledger.submit_batch

    def watched(subject: bytes, raws: Sequence[bytes]) -> list[Committed]:
        subjects.append(subject)
        return submit(subject, raws)

    monkeypatch.setattr(ledger, "submit_batch", watched)
    with clinic.visit() as other:
        for _ in range(2):
            clinic.pass_time(451)
            for each in (visit, other):
                each.keep()
    assert [len(subject) for subject in subjects] == [16] * 4
    assert subjects[:2] == subjects[2:], "one visit, one name"
    assert subjects[0] != subjects[1], "of each visit its own"


def test_half_of_the_life_is_left_until_it_is_less_than_half(visit: Visit) -> None:
    receipt = visit.grounds[0].receipt
    half = (receipt.expires - receipt.at) // 2
    assert not visits._is_due(receipt, receipt.at + half)
    assert visits._is_due(receipt, receipt.at + half + 1)


@pytest.mark.promise("P3")
def test_a_receipt_that_runs_out_takes_its_plaintext_along(clinic: Clinic, visit: Visit) -> None:
    kept = [(record, record.data) for record in held(visit)]
    clinic.pass_time(800)
    assert len(held(visit)) == len(kept)
    clinic.pass_time(101)
    assert held(visit) == []
    assert all(is_gone(*each) for each in kept)
    assert sorted(codes(visit)) == sorted((category, "gateway.12") for category in CATEGORIES)
    visit.keep()
    assert visit.grounds == []


@pytest.mark.promise("P3")
def test_what_the_patient_takes_back_is_gone_with_that_block(clinic: Clinic) -> None:
    kept_share, other = clinic.share("laboratory", "conditions"), clinic.share("medications")
    visit = clinic.visit()
    visit.open()
    kept = [(record, record.data) for record in visit.records("medications")]
    assert kept
    clinic.patient.person.revoke(other.record.id)
    assert visit.records("medications") == []
    assert all(is_gone(*each) for each in kept)
    assert codes(visit) == [("medications", "gateway.10")]
    assert visit.records("laboratory")
    visit.close()
    clinic.patient.person.revoke(kept_share.record.id)


@pytest.mark.promise("P3")
def test_what_is_narrowed_or_erased_is_gone_and_nothing_else(clinic: Clinic) -> None:
    shared = clinic.share("encounters", "immunizations", "procedures", purposes=["TREAT", "HPAYMT"])
    visit = clinic.visit()
    visit.open()
    encounters, immunizations, procedures = (
        next(grounds.receipt for grounds in visit.grounds if grounds.category == category)
        for category in ("encounters", "immunizations", "procedures")
    )
    until = clinic.clock() // DAY_S * DAY_S + DAY_S
    clinic.send(encounters.stream, Narrow(consent=encounters.consent, until=until))
    kept = {category: visit.records(category) for category in ("encounters", "immunizations", "procedures")}
    views = {category: [record.data for record in kept[category]] for category in kept}
    assert all(kept.values()), "still within it"
    clinic.send(immunizations.stream, Narrow(consent=immunizations.consent, purposes=["HPAYMT"]))
    assert all(map(is_gone, kept["immunizations"], views["immunizations"]))
    assert codes(visit) == [("immunizations", "gateway.10")]
    clinic.send(procedures.stream, Erase(stream=procedures.stream, segment=0))
    assert all(map(is_gone, kept["procedures"], views["procedures"]))
    assert (visit.records("immunizations"), visit.records("procedures")) == ([], [])
    assert visit.records("encounters") == kept["encounters"]
    visit.close()
    clinic.patient.person.revoke(shared.record.id)


@pytest.mark.promise("P3")
@pytest.mark.parametrize("whom", ["practitioner", "member"])
def test_who_is_suspended_holds_nothing_any_more(clinic: Clinic, visit: Visit, whom: str) -> None:
    mesh, practice = clinic.mesh, clinic.practice.home.requester
    regulator = mesh.member("regulator").home.requester
    kept = [(record, record.data) for record in held(visit)]
    if whom == "member":
        mesh.send([regulator], Suspend(member=practice.did))
        mesh.send([regulator], Reinstate(member=practice.did))
    else:
        mesh.send([practice], SuspendPerson(practitioner=clinic.doctor.did, suspended=True))
        mesh.send([practice], SuspendPerson(practitioner=clinic.doctor.did, suspended=False))
    assert all(is_gone(*each) for each in kept)
    assert {code for _, code in codes(visit)} == {"gateway.11"}


@pytest.mark.promise("P3")
def test_under_the_brake_nothing_is_renewed_and_receipts_run_out(clinic: Clinic, visit: Visit) -> None:
    regulator = clinic.mesh.member("regulator").home.requester
    clinic.mesh.send([regulator], Brake(scope="receipts", reason="drill", until=clinic.clock() + 1_000))
    clinic.pass_time(451)
    visit.keep()
    assert held(visit), "its receipts are still alive"
    clinic.pass_time(450)
    assert held(visit) == []
    clinic.pass_time(100)


@pytest.mark.promise("P2")
def test_leaving_closes_the_receipts_and_leaves_nothing(clinic: Clinic, visit: Visit) -> None:
    kept = [(record, record.data) for record in held(visit)]
    receipts = [grounds.receipt for grounds in visit.grounds]
    reader = memoryview(kept[0][1])
    visit.close()
    assert not any(reader.tobytes()), "a view made of a view sees zeros"
    assert all(is_gone(*each) for each in kept)
    ledger = clinic.mesh.engine.reader()
    given = [access.receipt(ledger, receipt.id) for receipt in receipts]
    assert all(receipt is not None and receipt.closed for receipt in given)
    with pytest.raises(Unavailable, match=r"custodian\.04"):
        clinic.gateway.open(receipts[0], clinic.doctor)
    height = clinic.patient.height
    visit.close()
    visit.follow()
    assert clinic.patient.height == height, "nothing is said twice"
    assert visit.ended == []
    for use in (visit.open, lambda: visit.records("laboratory")):
        with pytest.raises(Refused, match=r"gateway\.09"):
            use()


def test_who_reads_at_the_very_moment_of_wiping_reads_zeros() -> None:
    record = HeldRecord("laboratory", ("m", "r", "i", "v", "l"), b"secret")
    reading = PickleBuffer(record.data)  # holds on to the view
    record.wipe()
    assert memoryview(reading).tobytes() == bytes(6)
    with pytest.raises(Refused, match=r"gateway\.09"):
        _ = record.data
    reading.release()


@pytest.mark.promise("P3")
def test_what_is_revoked_while_it_is_being_opened_is_not_kept(clinic: Clinic) -> None:
    shared = clinic.share("laboratory")
    with clinic.visit() as visit:
        last = sorted(clinic.mesh.custodians)[1]
        honest = clinic.ways[last]

        class Late(OneByOne):
            """Releases, and then the patient revokes, before the release arrives."""

            def release(self, data: bytes) -> list[bytes]:
                answer = honest.release(data)
                clinic.patient.person.revoke(shared.record.id)
                return answer

        clinic.ways[last] = Late()
        try:
            visit.open()
        finally:
            clinic.ways[last] = honest
        assert visit.records("laboratory") == []
        assert codes(visit) == [("laboratory", "gateway.10")]
        assert all(entry.held is None for entry in visit._entries)


@pytest.mark.promise("P10")
def test_one_stream_that_does_not_open_leaves_the_others_open(clinic: Clinic, visit: Visit) -> None:
    medications = next(grounds.receipt for grounds in visit.grounds if grounds.category == "medications").stream
    with clinic.visit() as other:
        refused = {did: Refusing(way, medications) for did, way in clinic.ways.items()}
        honest = dict(clinic.ways)
        clinic.ways.update(refused)
        try:
            other.open()
        finally:
            clinic.ways.update(honest)
        assert codes(other) == [("medications", "gateway.02")]
        assert other.records("laboratory")
        assert other.records("conditions")
        assert len(other.open()) == 0, "what is open is not opened again"


class Refusing(OneByOne):
    """A custodian that has lost what it kept of one stream."""

    def __init__(self, honest: ReleaseCustodian, stream: bytes) -> None:
        self._honest = honest
        self._stream = stream

    def release(self, data: bytes) -> list[bytes]:
        """See ``ReleaseCustodian``."""
        if codec.decode_as(custody.read_signed(data).payload, ReleaseRequest).stream == self._stream:
            raise Refused(NO_FRAGMENT)
        return self._honest.release(data)


@pytest.mark.promise("P2")
def test_whom_the_ledger_refuses_gets_no_visit_and_which_stream_is_shown(clinic: Clinic) -> None:
    shared = clinic.share("laboratory", "medications", "documents")
    documents = next(item.stream for item in shared.record.items if item.category == "documents")
    clinic.send(documents, NewEpoch(stream=documents, reading_key=ReadingKey.from_secret(b"e" * 32).public))
    with clinic.visit() as visit:
        assert codes(visit) == [("documents", "access.21")]
        assert {grounds.category for grounds in visit.grounds} == {"laboratory", "medications"}
    with pytest.raises(Refused, match=r"access\.21"):
        clinic.visit(categories=["documents"])
    with pytest.raises(Refused, match=r"gateway\.01"):
        clinic.visit(why=Purpose("HPAYMT", BASIS))
    with pytest.raises(Refused, match=r"gateway\.01"):
        clinic.visit(why=Purpose("TREAT", BASIS, action="export"))
    with pytest.raises(Refused, match=r"access\.04"):
        clinic.visit(why=Purpose("TREAT", []), categories=["laboratory"])
    for item in shared.record.items:
        clinic.send(item.stream, Revoke(consent=item.consent))
    with pytest.raises(Refused, match=r"gateway\.01"):
        clinic.visit()


@pytest.mark.promise("P2")
def test_a_visit_is_under_the_consents_that_are_for_its_purpose(clinic: Clinic) -> None:
    old = clinic.share("laboratory")
    clinic.patient.person.revoke(old.record.id)
    shares = [clinic.share("laboratory"), clinic.share("laboratory", "medications", purposes=["HPAYMT"])]
    with clinic.visit() as visit:
        [grounds] = visit.grounds
        assert grounds.receipt.consent == shares[0].record.items[0].consent
    for shared in shares:
        clinic.patient.person.revoke(shared.record.id)


@pytest.mark.promise("P2")
def test_a_custodian_is_asked_for_all_streams_of_a_visit_at_once(clinic: Clinic) -> None:
    clinic.share("laboratory", "medications", "conditions")
    asked: list[tuple[str, int]] = []

    class Counted:
        """Notes for how many streams it is asked at a time."""

        def __init__(self, did: str, honest: ReleaseCustodian) -> None:
            self._did, self._honest = did, honest

        def release(self, data: bytes) -> list[bytes]:
            raise AssertionError(data)

        def release_each(self, data: Sequence[bytes]) -> list[list[bytes] | CareMeshError]:
            asked.append((self._did, len(data)))
            return self._honest.release_each(data)

    honest = dict(clinic.ways)
    clinic.ways.update({did: Counted(did, way) for did, way in honest.items()})
    try:
        with clinic.visit() as visit:
            visit.open()
            streams = len(visit.grounds)
    finally:
        clinic.ways.update(honest)
    assert streams >= 3
    assert sorted(asked) == [(did, streams) for did in sorted(honest)[:2]]
