"""A DID is its first key's; a key serves once, for whoever holds it; a deactivated DID stays so."""

from typing import Any

import pytest

from caremesh.contracts.identity import queries
from caremesh.contracts.identity.messages import Deactivate, Register, Rotate
from caremesh.contracts.identity.state import Identity
from caremesh.contracts.members.messages import Leave
from caremesh.contracts.streams.messages import RotateKey
from caremesh.crypto.signatures import did_of, multikey_text
from tests.support.acting import acting_for, effect, without_effect
from tests.support.world import CHAIN, Actor, World

WEAK = b"\xed\x01" + bytes(32)
"""A point of small order."""


def registration(actor: Actor, **changes: Any) -> Register:
    given: dict[str, Any] = {"did": str(actor.did), "key": actor.key.public, "kind": "practitioner"}
    return Register(**given | changes)


@pytest.mark.parametrize("kind", ["practitioner", "guardian", "device"])
def test_a_did_is_registered_with_the_member_that_enrols_it(world: World, kind: str) -> None:
    nurse = Actor("nurse")
    told = effect(world, registration(nurse, kind=kind), nurse, world.practice)
    assert told == [("identity/registered", {"did": nurse.did, "kind": kind})]
    assert queries.identity(world.view, str(nurse.did)) == Identity(
        did=str(nurse.did),
        key=nurse.key.public,
        rotation=0,
        kind=kind,  # type: ignore[arg-type]
        enrolled_by=str(world.practice.did),
        registered=world.height - 1,
        active=True,
    )
    assert queries.owner(world.view, nurse.key.public) == nurse.did


def test_a_founder_is_enrolled_by_itself_at_genesis(world: World) -> None:
    founder = queries.identity(world.view, str(world.practice.did))
    assert founder is not None
    assert (founder.kind, founder.enrolled_by, founder.registered) == ("member", world.practice.did, 0)


def test_the_first_key_signs_in_the_dids_own_name(world: World) -> None:
    nurse = Actor("nurse")
    assert without_effect(world, registration(nurse), world.practice) == "identity.03"
    nameless = acting_for("nurse", None)
    assert without_effect(world, registration(nurse), nameless, world.practice) == "identity.03"
    other = acting_for("nurse", str(Actor("other").did))
    assert without_effect(world, registration(nurse), other, world.practice) == "identity.03"


def test_a_members_did_comes_with_its_admission_only(world: World) -> None:
    clinic = Actor("clinic")
    assert without_effect(world, registration(clinic, kind="member"), clinic, world.practice) == "identity.07"


def test_a_did_is_registered_once(world: World) -> None:
    nurse = Actor("nurse")
    world.must(registration(nurse), nurse, world.practice)
    assert without_effect(world, registration(nurse), nurse, world.practice) == "identity.02"


def test_a_did_cannot_be_squatted_nor_brought_from_another_chain(world: World) -> None:
    victim = str(Actor("victim").did)
    squatter = acting_for("squatter", victim)
    assert without_effect(world, registration(squatter), squatter, world.practice) == "identity.05"
    foreign = acting_for("foreign", did_of("other", Actor("foreign").key.public))
    assert without_effect(world, registration(foreign), foreign, world.practice) == "identity.05"
    assert did_of(CHAIN, foreign.key.public) != foreign.did


def test_weak_keys_are_refused_wherever_a_key_comes_in(world: World) -> None:
    weak = Actor("weak")
    weak.signer = type(weak.signer)(key=WEAK, did=did_of(CHAIN, WEAK))
    message = Register(did=did_of(CHAIN, WEAK), key=WEAK, kind="device")
    assert without_effect(world, message, weak, world.practice) == "signatures.02"
    weak.signer = type(weak.signer)(key=WEAK, did=world.doctor.did)
    rotation = Rotate(did=str(world.doctor.did), key=WEAK)
    assert without_effect(world, rotation, world.doctor, weak, world.practice) == "signatures.02"


def test_a_key_serves_one_did_for_ever(world: World) -> None:
    new = acting_for("doctor's new key", world.doctor.did)
    world.must(Rotate(did=str(world.doctor.did), key=new.key.public), world.doctor, new, world.practice)
    thief = acting_for("doctor", str(Actor("x").did))
    taken = Register(did=str(thief.did), key=world.doctor.key.public, kind="device")
    assert without_effect(world, taken, thief, world.practice) == "identity.04"


def test_a_streams_key_serves_no_did(world: World) -> None:
    world.must(world.register(), world.hospital)
    first = acting_for("stream", did_of(CHAIN, world.stream_key.key.public))
    assert without_effect(world, registration(first), first, world.practice) == "identity.04"
    later = Actor("later", stream=True)
    rotation = RotateKey(stream=world.stream, key=later.key.public)
    world.must(rotation, world.stream_key, later, world.hospital)
    second = acting_for("later", did_of(CHAIN, later.key.public))
    assert without_effect(world, registration(second), second, world.practice) == "identity.04"
    named = acting_for("later", world.doctor.did)
    message = Rotate(did=str(world.doctor.did), key=later.key.public)
    assert without_effect(world, message, world.doctor, named, world.practice) == "identity.04"


def test_a_rotation_is_signed_by_the_old_key_and_the_new(world: World) -> None:
    old, new = world.doctor, acting_for("doctor's new key", world.doctor.did)
    message = Rotate(did=str(old.did), key=new.key.public)
    assert without_effect(world, message, old, world.practice) == "identity.03"
    assert without_effect(world, message, new, world.practice) == "identity.03"
    nameless = acting_for("doctor's new key", None)
    assert without_effect(world, message, old, nameless, world.practice) == "identity.03"
    elsewhere = acting_for("doctor", str(Actor("x").did))
    assert without_effect(world, message, elsewhere, new, world.practice) == "identity.03"
    assert effect(world, message, old, new, world.practice) == [
        ("identity/rotated", {"did": old.did, "rotation": 1}),
    ]
    assert queries.is_current_key(world.view, str(old.did), new.key.public)
    assert not queries.is_current_key(world.view, str(old.did), old.key.public)
    assert queries.owner(world.view, new.key.public) == old.did
    back = Rotate(did=str(old.did), key=old.key.public)
    assert without_effect(world, back, new, old, world.practice) == "identity.04"
    newest = acting_for("doctor's newest key", old.did)
    told = effect(world, Rotate(did=str(old.did), key=newest.key.public), new, newest, world.practice)
    assert told == [("identity/rotated", {"did": old.did, "rotation": 2})]


def test_what_is_not_registered_is_neither_rotated_nor_deactivated(world: World) -> None:
    nobody, new = Actor("nobody"), acting_for("new", str(Actor("nobody").did))
    message = Rotate(did=str(nobody.did), key=new.key.public)
    assert without_effect(world, message, nobody, new, world.practice) == "identity.01"
    assert without_effect(world, Deactivate(did=str(nobody.did)), nobody, world.practice) == "identity.01"
    assert queries.identity(world.view, str(nobody.did)) is None
    assert not queries.is_current_key(world.view, str(nobody.did), nobody.key.public)
    assert queries.owner(world.view, nobody.key.public) is None


def test_a_deactivated_did_stays_so(world: World) -> None:
    doctor = world.doctor
    message = Deactivate(did=str(doctor.did))
    assert without_effect(world, message, world.practice) == "identity.03"
    nameless = acting_for("doctor", None)
    assert without_effect(world, message, nameless, world.practice) == "identity.03"
    assert effect(world, message, doctor, world.practice) == [("identity/deactivated", {"did": doctor.did})]
    assert not queries.is_current_key(world.view, str(doctor.did), doctor.key.public)
    assert without_effect(world, message, doctor, world.practice) == "identity.06"
    new = acting_for("new", doctor.did)
    rotation = Rotate(did=str(doctor.did), key=new.key.public)
    assert without_effect(world, rotation, doctor, new, world.practice) == "identity.06"
    assert without_effect(world, registration(doctor), doctor, world.practice) == "identity.02"


def test_a_member_leaves_and_is_not_deactivated(world: World) -> None:
    message = Deactivate(did=str(world.practice.did))
    assert without_effect(world, message, world.practice) == "identity.07"
    world.must(Leave(member=str(world.practice.did)), world.practice)
    assert without_effect(world, message, world.practice, world.hospital) == "identity.07"


def test_a_did_resolves_to_its_document(world: World) -> None:
    did = str(world.doctor.did)
    new = acting_for("doctor's new key", did)
    world.must(Rotate(did=did, key=new.key.public), world.doctor, new, world.practice)
    method = f"{did}#key-1"
    context = ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"]
    key = multikey_text(new.key.public)
    assert queries.did_document(world.view, did) == {
        "@context": context,
        "id": did,
        "verificationMethod": [{"id": method, "type": "Multikey", "controller": did, "publicKeyMultibase": key}],
        "authentication": [method],
        "assertionMethod": [method],
    }
    world.must(Deactivate(did=did), new, world.practice)
    assert queries.did_document(world.view, did) == {"@context": context, "id": did}
    assert queries.did_document(world.view, str(Actor("nobody").did)) is None


def test_a_did_is_proven_under_its_key_in_the_state(world: World) -> None:
    assert world.view.get(queries.identity_key(str(world.doctor.did))) is not None
    assert world.view.get(queries.identity_key(str(Actor("nobody").did))) is None
