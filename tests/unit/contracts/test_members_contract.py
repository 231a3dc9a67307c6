"""Who belongs to the mesh: by a quorum of the authorities, and under its own keys."""

from typing import Any

import msgspec
import pytest

from caremesh.contracts.identity import queries as identities
from caremesh.contracts.members import messages as members
from caremesh.contracts.members import queries
from caremesh.contracts.members.state import Member
from caremesh.contracts.network.messages import Brake, EndBrake
from caremesh.contracts.policy.vocabulary import MEMBER_ROLES
from caremesh.crypto.signatures import did_of
from tests.support.acting import acting_for, effect, without_effect
from tests.support.world import CHAIN, NOW, Actor, World

WEAK = b"\xed\x01" + bytes(32)
"""A point of small order."""


def member_of(world: World, actor: Actor) -> Member:
    found = queries.member(world.view, str(actor.did))
    assert found is not None
    return found


def test_an_organisation_is_admitted_by_a_quorum(world: World) -> None:
    clinic = Actor("clinic")
    admit = world.admission(clinic, ["laboratory", "provider"], endpoints=["https://clinic.example"], jurisdiction="DE")
    assert effect(world, admit, *world.custodians[:2]) == [("members/admitted", {"member": clinic.did})]
    assert member_of(world, clinic) == Member(
        did=str(clinic.did),
        name="A member",
        roles=["laboratory", "provider"],
        jurisdiction="DE",
        keys=admit.keys,
        endpoints=["https://clinic.example"],
        admitted=world.height - 1,
        status="active",
    )
    assert [member.did for member in queries.members(world.view)] == [
        str(actor.did) for actor in (world.hospital, world.practice, *world.custodians, clinic)
    ]
    assert queries.is_active(world.view, str(clinic.did))
    enrolled = identities.identity(world.view, str(clinic.did))
    assert enrolled is not None
    assert (enrolled.kind, enrolled.enrolled_by, enrolled.key) == ("member", clinic.did, clinic.key.public)
    assert enrolled.registered == world.height - 1


def test_what_a_quorum_is(world: World) -> None:
    admit = world.admission(Actor("clinic"), ["provider"])
    one = world.custodians[0]
    assert without_effect(world, admit, one) == "members.01"
    assert without_effect(world, admit, one, one) == "members.01"
    assert without_effect(world, admit, world.hospital, one) == "members.01"
    impostor = acting_for("impostor", world.custodians[1].did)
    assert without_effect(world, admit, impostor, one) == "members.01"
    world.must(admit, *world.custodians)


def test_a_suspended_authority_does_not_count(world: World) -> None:
    first, second, third = world.custodians
    world.must(members.Suspend(member=str(first.did)), second, third)
    admit = world.admission(Actor("clinic"), ["provider"])
    assert without_effect(world, admit, first, second) == "members.01"
    world.must(admit, first, second, third)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"roles": ["provider", "provider"]}, "members.10"),
        ({"roles": ["provider", "king"]}, "members.10"),
        ({"key": WEAK, "member": did_of(CHAIN, WEAK)}, "signatures.02"),
        ({"member": str(Actor("other").did)}, "identity.05"),
        ({"member": did_of("other", Actor("clinic").key.public)}, "identity.05"),
    ],
)
def test_who_cannot_be_admitted(world: World, changes: dict[str, Any], code: str) -> None:
    admit = msgspec.structs.replace(world.admission(Actor("clinic"), ["provider"]), **changes)
    assert without_effect(world, admit, *world.custodians[:2]) == code


def test_a_member_has_sound_keys(world: World) -> None:
    clinic = Actor("clinic")
    sound = world.admission(clinic, ["provider"]).keys
    for changes, code in (({"node": WEAK}, "signatures.02"), ({"receiving": b"\x04" + bytes(32)}, "members.09")):
        keys = msgspec.structs.replace(sound, **changes)  # type: ignore[arg-type]
        admit = world.admission(clinic, ["provider"], keys=keys)
        assert without_effect(world, admit, *world.custodians[:2]) == code
        message = members.SetKeys(member=str(world.practice.did), keys=keys)
        assert without_effect(world, message, world.practice) == code
    for first in (2, 3):
        keys = msgspec.structs.replace(sound, receiving=bytes([first]) + bytes(32))
        world.must(members.SetKeys(member=str(world.practice.did), keys=keys), world.practice)


def test_a_member_is_admitted_once(world: World) -> None:
    again = world.admission(world.practice, ["payer"])
    assert without_effect(world, again, *world.custodians[:2]) == "members.03"
    world.must(members.Leave(member=str(world.practice.did)), world.practice)
    assert without_effect(world, again, *world.custodians[:2]) == "members.03"


def test_a_practitioners_key_is_not_an_organisations(world: World) -> None:
    doctor = world.doctor
    admit = world.admission(doctor, ["provider"])
    assert without_effect(world, admit, *world.custodians[:2]) == "identity.02"


def test_a_suspended_member_does_nothing_until_it_is_reinstated(world: World) -> None:
    did, quorum = str(world.practice.did), world.custodians[:2]
    assert without_effect(world, members.Suspend(member=did), world.custodians[0]) == "members.01"
    assert without_effect(world, members.Suspend(member=str(Actor("x").did)), *quorum) == "members.02"
    assert without_effect(world, members.Reinstate(member=did), *quorum) == "members.11"
    assert effect(world, members.Suspend(member=did), *quorum) == [("members/suspended", {"member": did})]
    assert without_effect(world, members.Suspend(member=did), *quorum) == "members.11"
    assert not queries.is_active(world.view, did)
    assert member_of(world, world.practice).status == "suspended"
    dismiss = members.Dismiss(practitioner=str(world.doctor.did))
    assert without_effect(world, dismiss, world.practice) == "members.04"
    assert without_effect(world, members.Reinstate(member=did), world.custodians[0]) == "members.01"
    assert without_effect(world, members.Reinstate(member=str(Actor("x").did)), *quorum) == "members.02"
    assert effect(world, members.Reinstate(member=did), *quorum) == [("members/reinstated", {"member": did})]
    assert queries.is_active(world.view, did)
    world.must(dismiss, world.practice)


def test_a_member_that_left_does_not_come_back(world: World) -> None:
    did, quorum = str(world.practice.did), world.custodians[:2]
    assert without_effect(world, members.Leave(member=did), world.hospital) == "members.05"
    assert effect(world, members.Leave(member=did), world.practice) == [("members/left", {"member": did})]
    assert member_of(world, world.practice).status == "left"
    assert not queries.is_active(world.view, did)
    for message in (
        members.Suspend(member=did),
        members.Reinstate(member=did),
        members.SetRole(member=did, roles=["payer"]),
    ):
        assert without_effect(world, message, *quorum) == "members.04"
    assert without_effect(world, members.Leave(member=did), world.practice) == "members.04"
    assert len(queries.members(world.view)) == 5


def test_enough_authorities_stay(world: World) -> None:
    first, second, third = world.custodians
    world.must(members.Suspend(member=str(first.did)), second, third)
    assert without_effect(world, members.Suspend(member=str(second.did)), second, third) == "members.12"
    assert without_effect(world, members.Leave(member=str(third.did)), third) == "members.12"
    world.must(members.Leave(member=str(world.hospital.did)), world.hospital)
    world.must(members.Reinstate(member=str(first.did)), second, third)
    world.must(members.Leave(member=str(third.did)), third)


def test_a_member_sets_its_own_keys_and_endpoints(world: World) -> None:
    did = str(world.practice.did)
    keys = msgspec.structs.replace(member_of(world, world.practice).keys, node=world.hospital.key.public)
    message = members.SetKeys(member=did, keys=keys)
    assert without_effect(world, message, world.hospital) == "members.05"
    assert effect(world, message, world.practice) == [("members/keys-set", {"member": did})]
    assert member_of(world, world.practice).keys == keys
    where = members.SetEndpoints(member=did, endpoints=["mesh://practice.example:7000"])
    assert without_effect(world, where, world.hospital) == "members.05"
    assert effect(world, where, world.practice) == [("members/endpoints-set", {"member": did})]
    assert member_of(world, world.practice).endpoints == ["mesh://practice.example:7000"]


def test_the_authorities_say_what_a_member_is(world: World) -> None:
    did, quorum = str(world.practice.did), world.custodians[:2]
    message = members.SetRole(member=did, roles=["payer", "researcher"])
    assert without_effect(world, message, world.practice) == "members.01"
    assert without_effect(world, members.SetRole(member=str(Actor("x").did), roles=[]), *quorum) == "members.02"
    assert without_effect(world, members.SetRole(member=did, roles=["king"]), *quorum) == "members.10"
    assert without_effect(world, members.SetRole(member=did, roles=["payer"] * 2), *quorum) == "members.10"
    assert effect(world, message, *quorum) == [("members/role-set", {"member": did})]
    assert member_of(world, world.practice).roles == ["payer", "researcher"]
    world.must(members.Suspend(member=did), *quorum)
    world.must(members.SetRole(member=did, roles=["provider"]), *quorum)
    assert member_of(world, world.practice).status == "suspended"


def test_every_role_of_the_mesh_can_be_had(world: World) -> None:
    roles = sorted(MEMBER_ROLES)
    world.must(members.SetRole(member=str(world.practice.did), roles=roles), *world.custodians[:2])
    assert member_of(world, world.practice).roles == roles


def test_who_is_no_member_sponsors_nothing(world: World) -> None:
    assert without_effect(world, members.Leave(member=str(Actor("x").did)), Actor("x")) == "members.04"
    impostor = acting_for("impostor", world.practice.did)
    assert without_effect(world, members.Leave(member=str(world.practice.did)), impostor) == "members.04"
    assert queries.member(world.view, str(Actor("x").did)) is None
    assert not queries.is_active(world.view, str(Actor("x").did))


def test_under_the_brake_a_member_can_be_suspended_in_one_act(world: World) -> None:
    quorum = world.custodians[:2]
    world.must(Brake(scope="all", reason="drill", until=NOW + 60), *quorum)
    suspend = members.Suspend(member=str(world.practice.did))
    assert without_effect(world, suspend, *quorum) == "network.05"
    world.must(EndBrake(), *quorum)
    world.must(suspend, *quorum)


def test_a_member_is_proven_under_its_key_in_the_state(world: World) -> None:
    assert world.view.get(queries.member_key(str(world.practice.did))) is not None
    assert world.view.get(queries.member_key(str(Actor("x").did))) is None
