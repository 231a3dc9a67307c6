"""Every check before a release, each with its code: remove one, and its test fails. Over a real mesh in one process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from caremesh import codec
from caremesh.contracts.access.state import Receipt
from caremesh.contracts.consent import queries as consents
from caremesh.contracts.members.messages import Suspend, SuspendPerson
from caremesh.contracts.network.messages import Brake
from caremesh.contracts.records import queries as records
from caremesh.crypto.keys import SigningKey
from caremesh.custodian.checks import Head, check_fresh
from caremesh.custodian.custodian import Custodian
from caremesh.errors import Refused, Tampered
from caremesh.fhir import samples
from caremesh.fhir.bundle import read_bundle
from caremesh.gateway.ask import Asked
from caremesh.node.founding import CHAIN
from caremesh.node.mesh import LocalMesh
from caremesh.sealing import custody
from caremesh.sealing.custody import FragmentDeposit, ReleaseRequest, SealDeposit
from caremesh.testing.clock import SettableClock
from caremesh.testing.person import Person
from caremesh.types import DAY_S

pytestmark = pytest.mark.slow


class Scene:
    """A patient with records at the hospital, shared with the practice, whose doctor holds a receipt."""

    def __init__(self, folder: Path) -> None:
        self.clock = SettableClock()
        self.mesh = LocalMesh(folder / "mesh", self.clock)
        self.person, _ = Person.create(self.mesh, folder / "wallet", "passphrase")
        bundle = read_bundle(samples.patient())
        assert bundle.patient is not None
        self.person.enrol("hospital", bundle.patient.id)
        self.mesh.member("hospital").source(self.mesh).import_bundle(samples.patient())
        self.share = self.person.share("practice", ["laboratory"], days=30)
        self.doctor = self.mesh.member("practice").home.practitioner(CHAIN)
        self.receipt = self.ask()
        self.consent = consents.consent(self.mesh.engine.reader(), self.receipt.consent)
        assert self.consent is not None
        self.custodian: Custodian = self.mesh.custodians[self.consent.fragments[0].custodian]

    def ask(self) -> Receipt:
        consent = self.share.record.items[0].consent
        gateway = self.mesh.member("practice").gateway(self.mesh)
        return gateway.ask(Asked(consent, "read", "TREAT", ["HIPAA:164.506.c.2"]), self.doctor)

    def request(self, *, key: SigningKey | None = None, **changes: Any) -> bytes:
        [segment] = records.segments(self.mesh.engine.reader(), self.receipt.stream)
        given: dict[str, Any] = {
            "receipt": self.receipt.id,
            "stream": self.receipt.stream,
            "descriptors": [segment.descriptor],
            "custodian": self.custodian.did,
            "nonce": os.urandom(16),
            "at": self.clock(),
        }
        request = ReleaseRequest(**given | changes)
        signer = key or self.doctor.key
        return codec.encode(custody.sign_payload(custody.RELEASE_REQUEST, request, signer))

    def refusal(self, **changes: Any) -> str:
        before = self.custodian.log_root()
        with pytest.raises((Refused, Tampered)) as caught:
            self.custodian.release(self.request(**changes))
        assert self.custodian.log_root() == before, "a refused release left a log entry"
        return caught.value.code


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.mesh.close()


@pytest.mark.promise("P2")
def test_a_release_is_logged_before_it_leaves(scene: Scene) -> None:
    [answer] = scene.custodian.release(scene.request())
    release = codec.decode_as(custody.read_signed(answer).payload, custody.Release)
    entries, head = scene.custodian.stream_log(scene.receipt.stream)
    assert [entry.receipt for entry in entries] == [scene.receipt.id]
    assert head.link == release.log.entry


@pytest.mark.promise("P3")
@pytest.mark.parametrize(
    ("time", "now", "seen_s", "code"),
    [
        (1_000, 1_030, 0.0, ""),
        (1_000, 1_031, 0.0, "custodian.01"),
        (1_000, 1_000, 30.5, "custodian.01"),
        (1_000, 1_000, float("inf"), "custodian.01"),
        (1_006, 1_000, 0.0, "custodian.02"),
    ],
)
def test_only_a_fresh_copy_decides(scene: Scene, time: int, now: int, seen_s: float, code: str) -> None:
    head = Head(scene.mesh.engine.reader(), time, seen_s)
    if not code:
        check_fresh(head, now)
        return
    with pytest.raises(Refused, match=code.replace(".", r"\.")):
        check_fresh(head, now)


@pytest.mark.promise("P3")
def test_a_custodian_that_was_cut_off_refuses(scene: Scene) -> None:
    scene.clock.advance(31)
    assert scene.refusal() == "custodian.01"
    scene.mesh.tick()
    scene.custodian.release(scene.request())


@pytest.mark.promise("P2")
def test_receipts_that_are_not_there_or_over(scene: Scene) -> None:
    assert scene.refusal(receipt=bytes(32)) == "custodian.03"
    scene.clock.advance(scene.receipt.expires - scene.receipt.at)
    scene.mesh.tick()
    assert scene.refusal() == "custodian.04"


@pytest.mark.promise("P3")
def test_revocation_beats_a_receipt(scene: Scene) -> None:
    scene.person.revoke(scene.share.record.id)
    assert scene.refusal() == "custodian.05"
    assert len(scene.mesh.confirmations) == 3


@pytest.mark.promise("P3")
def test_suspension_and_brake_beat_a_receipt(scene: Scene) -> None:
    mesh = scene.mesh
    regulator, practice = mesh.member("regulator").home.requester, mesh.member("practice").home.requester
    mesh.send([practice], SuspendPerson(practitioner=scene.doctor.did, suspended=True))
    assert scene.refusal() == "custodian.07"
    mesh.send([practice], SuspendPerson(practitioner=scene.doctor.did, suspended=False))
    mesh.send([regulator], Brake(scope="receipts", reason="drill", until=scene.clock() + 60))
    assert scene.refusal() == "custodian.08"
    scene.clock.advance(61)
    mesh.tick()
    mesh.send([regulator], Suspend(member=practice.did))
    assert scene.refusal() == "custodian.06"


@pytest.mark.promise("P2")
def test_segments_that_are_not_in_the_receipt(scene: Scene) -> None:
    unknown = codec.cid_of_cbor(b"unknown")
    assert scene.refusal(descriptors=[unknown]) == "custodian.10"
    assert scene.refusal(stream=bytes(32)) == "custodian.11"


@pytest.mark.promise("P2")
def test_who_may_ask_and_whom(scene: Scene) -> None:
    assert scene.refusal(key=SigningKey.generate()) == "custody.02"
    other = next(did for did in scene.mesh.custodians if did != scene.custodian.did)
    assert scene.refusal(custodian=other) == "custodian.18"


@pytest.mark.promise("P2")
def test_a_request_is_answered_once_and_near_its_time(scene: Scene) -> None:
    nonce = os.urandom(16)
    scene.custodian.release(scene.request(nonce=nonce))
    assert scene.refusal(nonce=nonce) == "custodian.19"
    assert scene.refusal(at=scene.clock() - 61) == "custodian.19"
    assert scene.refusal(at=scene.clock() + 61) == "custodian.19"


def vault_names(scene: Scene, prefix: str) -> list[str]:
    return scene.custodian._vault.names(prefix)


@pytest.mark.promise("P6")
def test_seals_and_fragments_that_are_not_those_of_the_ledger(scene: Scene) -> None:
    vault = scene.custodian._vault
    [segment] = records.segments(scene.mesh.engine.reader(), scene.receipt.stream)
    assert segment.descriptor is not None
    name = f"seal/{scene.receipt.stream.hex()}/{segment.descriptor.encode()}"
    stored = vault.get(name)
    assert stored is not None
    deposit = codec.decode_as(stored, SealDeposit)
    vault.put({name: codec.encode(replace(deposit, seal=replace(deposit.seal, ciphertext=b"other")))})
    assert scene.refusal() == "custodian.13"
    vault.destroy([name])
    assert scene.refusal() == "custodian.12"
    vault.put({name: stored})

    [fragment_name] = vault_names(scene, "fragment/")
    kept = vault.get(fragment_name)
    assert kept is not None
    fragment = codec.decode_as(kept, FragmentDeposit)
    flipped = fragment.fragment[:-1] + bytes([fragment.fragment[-1] ^ 1])
    vault.put({fragment_name: codec.encode(replace(fragment, fragment=flipped))})
    assert scene.refusal() == "custodian.16"
    for field in ("delegating", "receiving", "verifying"):
        vault.put({fragment_name: codec.encode(replace(fragment, **{field: b"\x02" + bytes(32)}))})
        assert scene.refusal() == "custodian.15"
    vault.destroy([fragment_name])
    assert scene.refusal() == "custodian.14"


def test_a_member_that_the_consent_does_not_name(scene: Scene) -> None:
    scene.custodian = scene.mesh.member("hospital").custodian
    assert scene.refusal() == "custodian.09"


@pytest.mark.promise("P3")
def test_expiry_destroys_fragments(scene: Scene) -> None:
    assert vault_names(scene, "fragment/")
    scene.clock.advance(31 * DAY_S)
    scene.mesh.tick()
    assert not vault_names(scene, "fragment/")
    assert len(scene.mesh.confirmations) == 3


@pytest.mark.promise("P2")
def test_fewer_than_t_custodians_open_nothing(scene: Scene) -> None:
    one = {scene.custodian.did: scene.custodian}
    gateway = scene.mesh.member("practice").gateway(scene.mesh, one)
    with pytest.raises(Exception, match=r"gateway\.02"):
        gateway.open(scene.receipt, scene.doctor)


def test_deposits_by_others_are_refused(scene: Scene) -> None:
    [fragment_name] = vault_names(scene, "fragment/")
    kept = scene.custodian._vault.get(fragment_name)
    assert kept is not None
    fragment = codec.decode_as(kept, FragmentDeposit)
    stranger = SigningKey.generate()
    hpke = next(m.home.hpke_public for m in scene.mesh.members.values() if m.home.did == scene.custodian.did)
    signed = custody.sign_payload(custody.FRAGMENT_DEPOSIT, fragment, stranger)
    sealed = custody.seal_to_custodian(custody.FRAGMENT_DEPOSIT, hpke, scene.custodian.did, signed)
    with pytest.raises(Refused, match=r"custodian\.20"):
        scene.custodian.deposit_fragment(sealed)
    [seal_name, *_] = vault_names(scene, "seal/")
    stored = scene.custodian._vault.get(seal_name)
    assert stored is not None
    deposit = codec.decode_as(stored, SealDeposit)
    with pytest.raises(Tampered, match=r"custody\.02"):
        scene.custodian.deposit_seal(codec.encode(custody.sign_payload(custody.SEAL_DEPOSIT, deposit, stranger)))
    node_key = scene.mesh.member("hospital").home.node_key
    for changed in (
        replace(deposit, stream=bytes(32)),
        replace(deposit, source=scene.mesh.member("practice").home.did),
    ):
        with pytest.raises((Refused, Tampered), match=r"custod"):
            scene.custodian.deposit_seal(codec.encode(custody.sign_payload(custody.SEAL_DEPOSIT, changed, node_key)))
    forged = replace(deposit, permit_signature=bytes(64))
    with pytest.raises(Tampered, match=r"signatures\.03"):
        scene.custodian.deposit_seal(codec.encode(custody.sign_payload(custody.SEAL_DEPOSIT, forged, node_key)))
