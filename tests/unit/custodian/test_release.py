"""Every check before a release, each with its code: remove one, and its test fails. Over a real mesh in one process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from caremesh import codec
from caremesh.blobs.vault import Vault
from caremesh.contracts.members.messages import Suspend, SuspendPerson
from caremesh.contracts.network.messages import Brake, EndBrake
from caremesh.contracts.records import queries as records
from caremesh.crypto.keys import SigningKey
from caremesh.custodian.keeping import Keeping
from caremesh.errors import Refused, Tampered
from caremesh.node.mesh import LocalMesh
from caremesh.sealing import custody
from caremesh.sealing.custody import FragmentDeposit, SealDeposit
from caremesh.types import DAY_S, Did
from caremesh.wallet import state as states
from tests.support.scene import Scene

pytestmark = pytest.mark.slow


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.mesh.close()


@pytest.mark.promise("P2")
def test_a_release_is_logged_before_it_leaves(scene: Scene) -> None:
    [answer] = scene.custodian.release(scene.request())
    release = codec.decode_as(custody.read_signed(answer).payload, custody.Release)
    log = scene.log()
    entries, head = log.entries, log.head
    assert [entry.receipt for entry in entries] == [scene.receipt.id]
    assert head.link == release.log.entry


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


def vault_of(scene: Scene) -> Vault:
    return next(member.home.vault for member in scene.mesh.members.values() if member.home.did == scene.custodian.did)


def vault_names(scene: Scene, prefix: str) -> list[str]:
    return vault_of(scene).names(prefix)


def restart(scene: Scene) -> None:
    """The custodian as after a restart: it finds what its vault holds now."""
    scene.custodian._keeping = Keeping(vault_of(scene), scene.custodian.did)


def kept(scene: Scene, name: str) -> Any:
    return codec.decode(vault_of(scene).get(name) or b"")


@pytest.mark.promise("P6")
def test_seals_and_fragments_that_are_not_those_of_the_ledger(scene: Scene) -> None:
    vault = vault_of(scene)
    [segment] = records.segments(scene.mesh.engine.reader(), scene.receipt.stream)
    assert segment.descriptor is not None
    name = f"seal/{scene.receipt.stream.hex()}/{segment.descriptor.encode()}"
    stored = kept(scene, name)
    stored["deposit"]["seal"]["ciphertext"] = b"other"
    vault.put({name: codec.encode(stored)})
    assert scene.refusal() == "custodian.13"

    [fragment_name] = vault_names(scene, "fragment/")
    whole = kept(scene, fragment_name)
    changed = kept(scene, fragment_name)
    changed["deposit"]["fragment"] = changed["deposit"]["fragment"][:-1] + b"x"
    vault.put({fragment_name: codec.encode(changed)})
    vault.put({name: codec.encode(stored | {"deposit": stored["deposit"]})})
    vault.destroy([name])
    restart(scene)
    assert scene.refusal() == "custodian.16", "the seal came from a fellow custodian"
    for field in ("delegating", "receiving", "verifying"):
        changed = whole | {"deposit": whole["deposit"] | {field: b"\x02" + bytes(32)}}
        vault.put({fragment_name: codec.encode(changed)})
        assert scene.refusal() == "custodian.15"
    vault.destroy([fragment_name])
    restart(scene)
    assert scene.refusal() == "custodian.14"


@pytest.mark.promise("P10")
def test_a_seal_that_is_missing_comes_from_a_fellow_custodian_and_only_a_true_one(scene: Scene) -> None:
    [segment] = records.segments(scene.mesh.engine.reader(), scene.receipt.stream)
    assert segment.descriptor is not None
    name = f"seal/{scene.receipt.stream.hex()}/{segment.descriptor.encode()}"
    vault_of(scene).destroy([name])
    restart(scene)
    fellows = dict(scene.mesh.custodians)

    class Liar:
        def __init__(self, did: Did) -> None:
            self.did = did

        def seals(self, data: bytes) -> bytes:
            signed = custody.read_signed(fellows[self.did].seals(data))
            answer = codec.decode_as(signed.payload, custody.SealAnswer)
            other = [replace(held, seal=replace(held.seal, ciphertext=b"other")) for held in answer.seals]
            return codec.encode(replace(signed, payload=codec.encode(replace(answer, seals=other))))

    scene.custodian.meet({did: Liar(did) for did in fellows})
    assert scene.refusal() == "custodian.12"
    scene.custodian.meet({})
    assert scene.refusal() == "custodian.12"
    scene.custodian.meet(fellows)
    assert scene.custodian.release(scene.request())
    assert vault_names(scene, name) == [name], "and it keeps it"


@pytest.mark.promise("P2")
def test_seals_and_logs_are_for_the_streams_key_and_seals_for_fellow_custodians_too(scene: Scene) -> None:
    stream, me = scene.receipt.stream, scene.custodian
    located = states.locate(scene.person.wallet.state, stream)
    owner = located.keys.signing(0)
    fellow = next(
        m.home.node_key for m in scene.mesh.members.values() if m.home.did in set(scene.mesh.custodians) - {me.did}
    )
    hospital = scene.mesh.member("hospital").home.node_key

    def ask(domain: str, key: SigningKey, **changes: Any) -> bytes:
        fields = {"stream": stream, "custodian": me.did, "nonce": os.urandom(16), "at": scene.clock()}
        return codec.encode(custody.sign_payload(domain, custody.StreamRequest(**(fields | changes)), key))

    assert me.seals(ask(custody.SEAL_REQUEST, owner))
    assert me.seals(ask(custody.SEAL_REQUEST, fellow))
    assert me.stream_log(ask(custody.LOG_REQUEST, owner))
    refused = [
        (me.seals, ask(custody.SEAL_REQUEST, hospital), r"custodian\.22"),
        (me.seals, ask(custody.SEAL_REQUEST, scene.doctor.key), r"custodian\.22"),
        (me.seals, ask(custody.SEAL_REQUEST, owner, stream=bytes(32)), r"custodian\.22"),
        (
            me.seals,
            ask(custody.SEAL_REQUEST, owner, custodian=scene.mesh.member("hospital").home.did),
            r"custodian\.18",
        ),
        (me.seals, ask(custody.SEAL_REQUEST, owner, at=scene.clock() - 61), r"custodian\.19"),
        (me.seals, ask(custody.LOG_REQUEST, owner), r"custody\.01"),
        (me.stream_log, ask(custody.SEAL_REQUEST, owner), r"custody\.01"),
        (me.stream_log, ask(custody.LOG_REQUEST, fellow), r"custodian\.22"),
    ]
    for attempt, data, code in refused:
        with pytest.raises((Refused, Tampered), match=code):
            attempt(data)
    once = ask(custody.SEAL_REQUEST, owner)
    me.seals(once)
    with pytest.raises(Refused, match=r"custodian\.19"):
        me.seals(once)
    scene.clock.advance(31)
    with pytest.raises(Refused, match=r"custodian\.01"):
        me.seals(ask(custody.SEAL_REQUEST, owner))


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


@pytest.mark.promise("P3")
def test_expiry_destroys_fragments_after_a_restart_too(scene: Scene, tmp_path: Path) -> None:
    scene.mesh.close()
    scene.mesh = LocalMesh(tmp_path / "mesh", scene.clock)
    scene.custodian = scene.mesh.custodians[scene.custodian.did]
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
    fragment = codec.decode_as(codec.encode(kept(scene, fragment_name)["deposit"]), FragmentDeposit)
    stranger = SigningKey.generate()
    hpke = next(m.home.hpke_public for m in scene.mesh.members.values() if m.home.did == scene.custodian.did)
    signed = custody.sign_payload(custody.FRAGMENT_DEPOSIT, fragment, stranger)
    sealed = custody.seal_to_custodian(custody.FRAGMENT_DEPOSIT, hpke, scene.custodian.did, signed)
    with pytest.raises(Refused, match=r"custodian\.20"):
        scene.custodian.deposit_fragment(sealed)
    [seal_name, *_] = vault_names(scene, "seal/")
    deposit = codec.decode_as(codec.encode(kept(scene, seal_name)["deposit"]), SealDeposit)
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


@pytest.mark.promise("P2")
def test_the_checks_come_in_the_order_of_the_specification(scene: Scene) -> None:
    """Everything is wrong at once; as it is put right, one by one, each check says so in its turn."""
    mesh, regulator = scene.mesh, scene.mesh.member("regulator").home.requester
    vault, [segment] = vault_of(scene), records.segments(scene.mesh.engine.reader(), scene.receipt.stream)
    assert segment.descriptor is not None
    [fragment] = vault_names(scene, "fragment/")
    seal = f"seal/{scene.receipt.stream.hex()}/{segment.descriptor.encode()}"
    kept_seal, kept_fragment = vault.get(seal), vault.get(fragment)
    assert kept_seal is not None
    assert kept_fragment is not None
    mesh.send([regulator], Brake(scope="receipts", reason="drill", until=scene.clock() + 600))
    vault.destroy([seal, fragment])
    restart(scene)
    scene.custodian.meet({})
    scene.clock.advance(31)
    other = next(did for did in mesh.custodians if did != scene.custodian.did)
    wrong: dict[str, Any] = {
        "receipt": bytes(32),
        "stream": bytes(32),
        "descriptors": [codec.cid_of_cbor(b"unknown")],
        "key": SigningKey.generate(),
        "custodian": other,
        "at": scene.clock() - 600,
    }
    seen = [scene.refusal(**wrong)]

    def right(*names: str) -> None:
        for name in names:
            del wrong[name]
        seen.append(scene.refusal(**wrong))

    mesh.tick()
    right()
    right("receipt")
    mesh.send([regulator], EndBrake())
    right()
    right("stream")
    right("descriptors")
    vault.put({seal: kept_seal})
    restart(scene)
    right()
    vault.put({fragment: kept_fragment})
    restart(scene)
    right()
    right("key")
    right("custodian")
    assert seen == [
        "custodian.01",
        "custodian.03",
        "custodian.08",
        "custodian.11",
        "custodian.10",
        "custodian.12",
        "custodian.14",
        "custody.02",
        "custodian.18",
        "custodian.19",
    ]
    assert scene.custodian.release(scene.request())
