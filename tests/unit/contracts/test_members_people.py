"""Practitioners act for a member while they are appointed, not suspended, and licensed."""

from typing import Any

import pytest

from caremesh.contracts.identity.messages import Deactivate, Register
from caremesh.contracts.members import messages as members
from caremesh.contracts.members import queries
from caremesh.contracts.members.state import Appointment
from caremesh.contracts.policy.vocabulary import REQUESTER_ROLES
from caremesh.types import DAY_S
from tests.support.acting import acting_for, effect, without_effect
from tests.support.world import NOW, Actor, World

LICENSED_UNTIL = 20_100 * DAY_S


def appointment(who: Actor, **changes: Any) -> members.Appoint:
    given: dict[str, Any] = {"practitioner": str(who.did), "roles": ["nurse"], "licensed_until": LICENSED_UNTIL}
    return members.Appoint(**given | changes)


def may_act(world: World, at: int = NOW, member: Actor | None = None) -> bool:
    return queries.may_act(world.view, str(world.doctor.did), str((member or world.practice).did), at)


def suspension(world: World, *, suspended: bool = True) -> members.SuspendPerson:
    return members.SuspendPerson(practitioner=str(world.doctor.did), suspended=suspended)


def person_key(who: Actor, receiving: bytes | None) -> members.SetPersonKey:
    return members.SetPersonKey(practitioner=str(who.did), receiving=receiving)


def test_a_practitioner_is_appointed_until_a_licence_ends(world: World) -> None:
    did, member = str(world.doctor.did), str(world.practice.did)
    told = effect(world, appointment(world.doctor, roles=["physician", "researcher"]), world.practice)
    assert told == [("members/appointed", {"practitioner": did, "member": member})]
    assert queries.appointment(world.view, did, member) == Appointment(
        practitioner=did,
        member=member,
        roles=["physician", "researcher"],
        licensed_until=LICENSED_UNTIL,
        status="active",
    )
    assert may_act(world, LICENSED_UNTIL - 1)
    assert not may_act(world, LICENSED_UNTIL)
    assert not may_act(world, member=world.hospital)


def test_a_practitioner_may_act_for_two_members(world: World) -> None:
    world.must(appointment(world.doctor), world.hospital)
    world.must(members.Dismiss(practitioner=str(world.doctor.did)), world.practice)
    assert may_act(world, member=world.hospital)
    assert not may_act(world)


def test_only_practitioners_are_appointed(world: World) -> None:
    assert without_effect(world, appointment(Actor("unknown")), world.practice) == "members.06"
    assert without_effect(world, appointment(world.hospital), world.practice) == "members.06"
    world.must(Deactivate(did=str(world.doctor.did)), world.doctor, world.practice)
    assert without_effect(world, appointment(world.doctor), world.practice) == "members.06"


@pytest.mark.parametrize("roles", [[], ["nurse", "nurse"], ["nurse", "king"], ["provider"]])
def test_functional_roles_are_known_and_named_once(world: World, roles: list[str]) -> None:
    assert without_effect(world, appointment(world.doctor, roles=roles), world.practice) == "members.10"


def test_every_functional_role_of_the_regulations_can_be_had(world: World) -> None:
    world.must(appointment(world.doctor, roles=sorted(REQUESTER_ROLES)), world.practice)


@pytest.mark.parametrize("until", [20_000 * DAY_S, NOW, LICENSED_UNTIL + 1, LICENSED_UNTIL - 1])
def test_a_licence_ends_with_a_whole_day_that_is_not_over(world: World, until: int) -> None:
    assert without_effect(world, appointment(world.doctor, licensed_until=until), world.practice) == "members.08"


def test_a_licence_that_ends_now_is_over(world: World) -> None:
    world.now = LICENSED_UNTIL
    assert without_effect(world, appointment(world.doctor), world.practice) == "members.08"
    world.now -= 1
    world.must(appointment(world.doctor), world.practice)


def test_a_suspension_stops_a_practitioner_until_it_is_lifted(world: World) -> None:
    did = str(world.doctor.did)
    assert without_effect(world, suspension(world), world.hospital) == "members.07"
    assert without_effect(world, suspension(world, suspended=False), world.practice) == "members.11"
    told = effect(world, suspension(world), world.practice)
    assert told == [("members/person-suspended", {"practitioner": did, "suspended": 1})]
    assert not may_act(world)
    assert without_effect(world, suspension(world), world.practice) == "members.11"
    told = effect(world, suspension(world, suspended=False), world.practice)
    assert told == [("members/person-suspended", {"practitioner": did, "suspended": 0})]
    assert may_act(world)


def test_a_renewed_appointment_lifts_no_suspension(world: World) -> None:
    world.must(suspension(world), world.practice)
    world.must(appointment(world.doctor), world.practice)
    assert not may_act(world)
    found = queries.appointment(world.view, str(world.doctor.did), str(world.practice.did))
    assert found is not None
    assert (found.roles, found.status) == (["nurse"], "suspended")
    world.must(suspension(world, suspended=False), world.practice)
    assert may_act(world)


def test_a_dismissal_ends_an_appointment(world: World) -> None:
    did, member = str(world.doctor.did), str(world.practice.did)
    message = members.Dismiss(practitioner=did)
    assert without_effect(world, message, world.hospital) == "members.07"
    told = effect(world, message, world.practice)
    assert told == [("members/dismissed", {"practitioner": did, "member": member})]
    assert not may_act(world)
    assert without_effect(world, message, world.practice) == "members.07"
    assert without_effect(world, suspension(world), world.practice) == "members.07"
    assert without_effect(world, suspension(world, suspended=False), world.practice) == "members.07"
    world.must(appointment(world.doctor), world.practice)
    assert may_act(world)


def test_a_suspended_practitioner_can_be_dismissed(world: World) -> None:
    world.must(suspension(world), world.practice)
    world.must(members.Dismiss(practitioner=str(world.doctor.did)), world.practice)
    found = queries.appointment(world.view, str(world.doctor.did), str(world.practice.did))
    assert found is not None
    assert found.status == "dismissed"


def test_a_practitioner_may_have_a_receiving_key(world: World) -> None:
    doctor, did = world.doctor, str(world.doctor.did)
    assert queries.receiving_key(world.view, did) is None
    key = world.reading.public
    told = effect(world, person_key(doctor, key), doctor, world.practice)
    assert told == [("members/person-key-set", {"practitioner": did})]
    assert queries.receiving_key(world.view, did) == key
    assert effect(world, person_key(doctor, None), doctor, world.practice) == told
    assert queries.receiving_key(world.view, did) is None
    assert queries.receiving_key(world.view, str(world.practice.did)) == world.receiving.public


def test_only_the_practitioner_sets_the_key_and_for_a_member_that_appointed_them(world: World) -> None:
    doctor, message = world.doctor, person_key(world.doctor, world.reading.public)
    assert without_effect(world, message, world.practice) == "members.13"
    assert without_effect(world, message, acting_for("doctor", None), world.practice) == "members.13"
    assert without_effect(world, message, acting_for("other", doctor.did), world.practice) == "members.13"
    assert without_effect(world, message, doctor, world.hospital) == "members.07"
    wrong = person_key(doctor, b"\x04" + bytes(32))
    assert without_effect(world, wrong, doctor, world.practice) == "members.09"
    nobody = Actor("nobody")
    assert without_effect(world, person_key(nobody, None), nobody, world.practice) == "members.06"
    device = Actor("device")
    world.must(Register(did=str(device.did), key=device.key.public, kind="device"), device, world.practice)
    assert without_effect(world, person_key(device, None), device, world.practice) == "members.06"
    world.must(members.Dismiss(practitioner=str(doctor.did)), world.practice)
    assert without_effect(world, message, doctor, world.practice) == "members.07"
