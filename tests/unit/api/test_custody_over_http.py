"""Deposits, releases, logs, erasure and confirmations, with gateway, source and wallet unchanged, over real servers."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from caremesh import codec
from caremesh.client import wire
from caremesh.client.custody import MAX_RELEASES, MAX_RELEASES_BYTES, pieces
from caremesh.contracts.consent import queries as consents
from caremesh.contracts.records import queries as records
from caremesh.errors import BadInput, CareMeshError, Refused, Tampered
from caremesh.fhir import samples
from caremesh.gateway.ask import Asked
from caremesh.node.founding import CHAIN
from caremesh.node.mesh import LocalMesh
from caremesh.sealing import custody
from caremesh.sealing.custody import DestroyConfirmation, ReleaseRequest
from caremesh.testing.clock import SettableClock
from caremesh.wallet import state as states
from caremesh.wallet.erase import confirmations
from caremesh.wallet.logs import own_log
from tests.support.canaries import Needles, personal
from tests.support.over_http import OverHttp, over_http
from tests.support.patient import Patient

BASIS = ["HIPAA:164.506.c.2"]


class Meeting:
    """A patient with records, shared with the practice; everything to custodians went over HTTP."""

    def __init__(self, folder: Path, http: OverHttp) -> None:
        self.http, self.mesh = http, http.mesh
        self.patient = Patient(folder, self.mesh)
        hospital = self.mesh.member("hospital")
        self.source = hospital.source(self.mesh)
        self.source._registrar._custodians = http.custodians("hospital")
        for bundle in (*samples.directory(), samples.patient()):
            self.source.import_bundle(bundle)
        self.way = http.wallet()
        patient = self.patient
        self.share = patient.wallet.share(
            patient.terms("laboratory", "medications"), patient.ledger, patient.height, patient.sponsor, self.way
        )
        self.doctor = self.mesh.member("practice").home.practitioner(CHAIN)
        self.gateway = self.mesh.member("practice").gateway(self.mesh, http.custodians("practice"), patience_s=30.0)
        self.gateway.receive_share(self.share.message)


@pytest.fixture(scope="module")
def meeting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Meeting]:
    folder = tmp_path_factory.mktemp("meeting")
    with LocalMesh(folder / "mesh", SettableClock()) as mesh, over_http(mesh, folder) as http:
        yield Meeting(folder, http)


def test_everything_was_acknowledged(meeting: Meeting) -> None:
    assert not meeting.share.missing
    for custodian in meeting.mesh.custodians.values():
        assert custodian._keeping._fragments, "a custodian got no fragment"


@pytest.mark.promise("P2")
def test_a_doctor_reads_and_the_patient_sees_it(meeting: Meeting) -> None:
    item = meeting.share.record.items[0]
    receipt = meeting.gateway.ask(Asked(item.consent, "read", "TREAT", BASIS), meeting.doctor)
    opened = meeting.gateway.open(receipt, meeting.doctor)
    assert opened.records
    located = states.locate(meeting.patient.wallet.state, item.stream)
    reader = meeting.mesh.engine.reader()
    logs = [own_log(reader, located, did, meeting.way, meeting.mesh.clock()) for did in meeting.mesh.custodians]
    released = [entry.receipt for log in logs for entry in log.entries]
    assert released.count(receipt.id) == 2, "t custodians, each once"


@pytest.mark.promise("P2")
def test_a_release_whose_answer_was_lost_is_asked_for_again_and_logged_once(meeting: Meeting) -> None:
    item = meeting.share.record.items[0]
    receipt = meeting.gateway.ask(Asked(item.consent, "read", "TREAT", BASIS), meeting.doctor)
    did, way = next(iter(meeting.http.custodians("practice").items()))
    [segment] = records.segments(meeting.mesh.engine.reader(), receipt.stream)
    assert segment.descriptor is not None
    request = ReleaseRequest(
        receipt=receipt.id,
        stream=receipt.stream,
        descriptors=[segment.descriptor],
        custodian=did,
        nonce=os.urandom(16),
        at=meeting.mesh.clock(),
    )
    body = codec.encode(custody.sign_payload(custody.RELEASE_REQUEST, request, meeting.doctor.key))
    before = meeting.mesh.custodians[did].log_root()[1]
    node = way._client._node

    def ask(key: str) -> bytes:
        once = {wire.IDEMPOTENCY_KEY: key}
        return meeting.http.portal.call(lambda: node.call("POST", "/custody/v1/releases", body, headers=once)).body

    assert ask("one") == ask("one")
    assert meeting.mesh.custodians[did].log_root()[1] == before + 1
    with pytest.raises(Refused) as caught:
        ask("two")
    assert caught.value.code == "custodian.19"


def test_the_refusal_of_a_custodian_comes_back_as_itself(meeting: Meeting) -> None:
    way = next(iter(meeting.http.custodians("practice").values()))
    near = next(iter(meeting.mesh.custodians.values()))
    for bad in (b"", b"\xa0", codec.encode({"payload": b"", "key": bytes(34), "signature": bytes(64)})):
        for call in ("release", "deposit_fragment", "seals", "stream_log", "deposit_reseal"):
            with pytest.raises(CareMeshError) as direct:
                getattr(near, call)(bad)
            with pytest.raises(CareMeshError) as remote:
                getattr(way, call)(bad)
            assert (type(remote.value), remote.value.error) == (type(direct.value), direct.value.error)


def test_the_root_of_the_logs_is_told(meeting: Meeting) -> None:
    for did, way in meeting.http.custodians("hospital").items():
        root, count = meeting.mesh.custodians[did].log_root()
        assert (way.log_root().root, way.log_root().count) == (root.hex(), count)


def active(meeting: Meeting) -> bool:
    """Whether no other test has taken the share back."""
    known = consents.consent(meeting.mesh.engine.reader(), meeting.share.record.items[0].consent)
    return known is not None and consents.is_active(known, meeting.mesh.clock())


def requests(meeting: Meeting, did: str, many: int) -> list[bytes]:
    """Signed, for all that there is."""
    patient = meeting.patient
    if not active(meeting):
        terms = patient.terms("laboratory", "medications")
        again = patient.wallet.share(terms, patient.ledger, patient.height, patient.sponsor, meeting.way)
        meeting.gateway.receive_share(again.message)
        meeting.share = again
    item = meeting.share.record.items[0]
    receipt = meeting.gateway.ask(Asked(item.consent, "read", "TREAT", BASIS), meeting.doctor)
    segments = records.segments(meeting.mesh.engine.reader(), receipt.stream)
    found = []
    for _ in range(many):
        request = ReleaseRequest(
            receipt=receipt.id,
            stream=receipt.stream,
            descriptors=[each.descriptor for each in segments if each.descriptor is not None],
            custodian=did,
            nonce=os.urandom(16),
            at=meeting.mesh.clock(),
        )
        found.append(codec.encode(custody.sign_payload(custody.RELEASE_REQUEST, request, meeting.doctor.key)))
    return found


def refused(meeting: Meeting, code: str) -> float:
    """How many releases were refused with it, each by itself in a request of several."""
    labels = {"code": code, "route": "custody.releases"}
    doors = meeting.http.doors.values()
    return sum(door.metrics.registry.get_sample_value("caremesh_http_refusals_total", labels) or 0 for door in doors)


def until(holds: Callable[[], bool], within_s: float = 60) -> None:
    """A request is counted when its answer has left: whoever has the answer may be first."""
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.promise("P2")
def test_several_releases_in_one_request_are_granted_or_refused_each_by_itself(meeting: Meeting) -> None:
    did, way = next(iter(meeting.http.custodians("practice").items()))
    one, two = requests(meeting, did, 2)
    before = meeting.mesh.custodians[did].log_root()[1]
    counted = {code: refused(meeting, code) for code in ("custody.01", "custodian.19")}
    found = way.release_each([one, b"", two, one])
    said = [each.code if isinstance(each, CareMeshError) else len(each) for each in found]
    assert said == [1, "custody.01", 1, "custodian.19"]
    until(lambda: {code: refused(meeting, code) - many for code, many in counted.items()} == dict.fromkeys(counted, 1))
    assert [type(each) for each in found if isinstance(each, CareMeshError)] == [Tampered, Refused]
    assert meeting.mesh.custodians[did].log_root()[1] == before + 2
    assert way.release_each([]) == []


def test_so_many_releases_are_asked_for_in_one_request_and_no_more(meeting: Meeting) -> None:
    way = next(iter(meeting.http.custodians("practice").values()))
    node = way._client._node

    def ask(many: int) -> None:
        body = wire.several([b""] * many)
        meeting.http.portal.call(lambda: node.call("POST", "/custody/v1/release-batches", body))

    ask(MAX_RELEASES)
    for many in (0, MAX_RELEASES + 1):
        with pytest.raises(BadInput) as caught:
            ask(many)
        assert caught.value.code == "api.17"
    found = way.release_each([b""] * (MAX_RELEASES + 1))
    assert [each.code for each in found if isinstance(each, CareMeshError)] == ["custody.01"] * (MAX_RELEASES + 1), (
        "more go in several requests"
    )


def test_a_node_of_an_earlier_version_is_asked_one_by_one(meeting: Meeting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("caremesh.client.custody.TOGETHER", "releases-of-tomorrow")
    did, way = next(iter(meeting.http.custodians("hospital").items()))
    one, two = requests(meeting, did, 2)
    found = way.release_each([one, b"", two])
    assert [each.code if isinstance(each, CareMeshError) else len(each) for each in found] == [1, "custody.01", 1]


def test_requests_for_releases_go_in_pieces_of_a_size() -> None:
    half, small = bytes(MAX_RELEASES_BYTES // 2), b"small"
    assert list(pieces([])) == []
    assert list(pieces([half, half, small, half, small])) == [[half, half], [small, half, small]]
    assert [len(each) for each in pieces([bytes(2 * MAX_RELEASES_BYTES), small])] == [1, 1]
    assert [len(each) for each in pieces([small] * (2 * MAX_RELEASES + 1))] == [MAX_RELEASES, MAX_RELEASES, 1]


@pytest.mark.promise("P3")
def test_destruction_is_confirmed_after_the_consent_is_over_and_not_before(meeting: Meeting) -> None:
    patient = meeting.patient
    [item] = [item for item in meeting.share.record.items if item.category == "medications"]
    ways = meeting.http.custodians("hospital")
    for way in ways.values():
        with pytest.raises(Refused) as early:
            way.confirm_destroyed(item.consent)
        assert early.value.code == "custodian.24"
    patient.person.revoke(meeting.share.record.id)
    for did, way in ways.items():
        signed = custody.read_signed(way.confirm_destroyed(item.consent))
        key = next(m.home.node_key.public for m in meeting.mesh.members.values() if m.home.did == did)
        said = custody.open_signed(custody.DESTROY_CONFIRMATION, signed, DestroyConfirmation, key)
        assert (said.consent, said.custodian) == (item.consent, did)
        assert not meeting.mesh.custodians[did]._keeping._fragments[item.consent]


@pytest.mark.promise("P8")
def test_erasure_is_confirmed_by_every_member(meeting: Meeting) -> None:
    patient = meeting.patient
    reader = meeting.mesh.engine.reader()
    [stream] = states.choose(patient.wallet.state, ["conditions"])
    assert records.segments(reader, stream)
    patient.wallet.erase(stream, 0, patient.ledger, patient.sponsor)
    said = confirmations(meeting.mesh.engine.reader(), stream, 0, meeting.way)
    assert not said.faults
    assert len(said.signed) >= len(meeting.mesh.custodians)


def test_a_confirmation_of_what_is_not_erased_is_refused(meeting: Meeting) -> None:
    [stream] = states.choose(meeting.patient.wallet.state, ["laboratory"])
    with pytest.raises(CareMeshError) as caught:
        next(iter(meeting.http.custodians("hospital").values())).confirm_erased(stream, 0)
    assert caught.value.code == "custodian.23"


@pytest.mark.promise("P1")
def test_logs_and_metrics_of_all_this_hold_nothing_personal(meeting: Meeting) -> None:
    """Not one text of the patient's records, and no stream, consent, receipt or DID of who asked."""
    needles = Needles(personal(json.loads(samples.patient())))
    assert len(needles.texts) > 1_000
    state = meeting.patient.wallet.state
    ids = [located.stream.id for located in states.streams(state)] + [i.consent for i in meeting.share.record.items]
    names = Needles([text for each in ids for text in (each.hex(), wire.text_of(each))] + [meeting.doctor.did])
    lines = 0
    for door in meeting.http.doors.values():
        said = (door.said.getvalue() + door.metrics.page().decode()).encode()
        lines += door.said.getvalue().count("\n")
        assert not needles.found(said)
        assert not names.found(said)
    assert lines > 20


def test_too_many_seals_at_once_are_refused(meeting: Meeting) -> None:
    way = next(iter(meeting.http.custodians("hospital").values()))
    with pytest.raises(BadInput) as caught:
        way.deposit_seals([])
    assert caught.value.code == "api.17"
    with pytest.raises((Refused, Tampered)) as large:
        way.deposit_seals([bytes(2**20)] * 17)
    assert large.value.code == "api.11"
