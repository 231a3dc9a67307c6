"""Who acts, for whom, and who may say so."""

from typing import Any

import pytest

from caremesh import codec
from caremesh.contracts.identity import queries as identities
from caremesh.contracts.identity.messages import Deactivate, Register, Rotate
from caremesh.contracts.members import messages as members
from caremesh.contracts.members import queries
from caremesh.contracts.network import messages as network
from caremesh.contracts.network import queries as network_queries
from caremesh.errors import BadInput
from caremesh.ledger.state import View
from caremesh.types import DAY_S
from tests.support.world import CHAIN, NOW, Actor, World


def registration(actor: Actor, **changes: Any) -> Register:
    given: dict[str, Any] = {"did": str(actor.did), "key": actor.key.public, "kind": "practitioner"}
    return Register(**given | changes)


def test_identities(world: World) -> None:
    nurse = Actor("nurse")
    assert world.do(registration(nurse), world.practice) == "identity.03"
    assert world.do(registration(nurse, kind="member"), nurse, world.practice) == "identity.07"
    world.must(registration(nurse), nurse, world.practice)
    assert world.do(registration(nurse), nurse, world.practice) == "identity.02"
    squatter = Actor("squatter")
    squatter.signer = type(squatter.signer)(key=squatter.key.public, did=str(Actor("victim").did))
    message = registration(squatter, did=str(Actor("victim").did))
    assert world.do(message, squatter, world.practice) == "identity.05"


def test_rotation_needs_both_keys_and_keys_serve_once(world: World) -> None:
    old, new = world.doctor, Actor("doctor's new key")
    new.signer = type(new.signer)(key=new.key.public, did=old.did)
    message = Rotate(did=str(old.did), key=new.key.public)
    assert world.do(message, old, world.practice) == "identity.03"
    assert world.do(message, new, world.practice) == "identity.03"
    assert world.do(Rotate(did=str(Actor("nobody").did), key=new.key.public), new, world.practice) == "identity.01"
    world.must(message, old, new, world.practice)
    assert identities.is_current_key(world.view, str(old.did), new.key.public)
    assert not identities.is_current_key(world.view, str(old.did), old.key.public)
    back = Rotate(did=str(old.did), key=old.key.public)
    assert world.do(back, new, old, world.practice) == "identity.04"
    taken = Register(did=str(Actor("x").did), key=old.key.public, kind="device")
    thief = Actor("x")
    thief.signer = type(thief.signer)(key=old.key.public, did=thief.did)
    assert world.do(taken, thief, world.practice) == "identity.04"
    world.must(Deactivate(did=str(old.did)), new, world.practice)
    assert world.do(Deactivate(did=str(old.did)), new, world.practice) == "identity.06"


def test_admission_takes_a_quorum(world: World) -> None:
    clinic = Actor("clinic")
    admit = world.admission(clinic, ["provider"])
    one = world.custodians[0]
    assert world.do(admit, one) == "members.01"
    assert world.do(admit, one, one) == "members.01"
    assert world.do(admit, world.hospital, one) == "members.01"
    assert world.do(world.admission(clinic, ["provider", "provider"]), *world.custodians) == "members.10"
    assert world.do(world.admission(clinic, ["king"]), *world.custodians) == "members.10"
    world.must(admit, *world.custodians[:2])
    assert world.do(admit, *world.custodians[:2]) == "members.03"
    assert [member.did for member in queries.members(world.view)][-1] == clinic.did


def test_suspension_takes_a_quorum_and_stops_a_member(world: World) -> None:
    suspend = members.Suspend(member=str(world.practice.did))
    quorum = world.custodians[:2]
    assert world.do(suspend, world.custodians[0]) == "members.01"
    assert world.do(members.Suspend(member=str(Actor("x").did)), *quorum) == "members.02"
    world.must(suspend, *quorum)
    assert world.do(suspend, *quorum) == "members.11"
    assert not queries.is_active(world.view, str(world.practice.did))
    assert world.do(members.Dismiss(practitioner=str(world.doctor.did)), world.practice) == "members.04"
    world.must(members.Reinstate(member=str(world.practice.did)), *quorum)
    assert world.do(members.Reinstate(member=str(world.practice.did)), *quorum) == "members.11"


def test_a_member_sets_its_own_keys_only(world: World) -> None:
    member = queries.member(world.view, str(world.practice.did))
    assert member is not None
    keys = members.Keys(world.hospital.key.public, member.keys.channel, member.keys.receiving)
    message = members.SetKeys(member=str(world.practice.did), keys=keys)
    assert world.do(message, world.hospital) == "members.05"
    world.must(message, world.practice)
    weak = members.Keys(b"\xed\x01" + bytes(32), member.keys.channel, member.keys.receiving)
    refused = world.do(members.SetKeys(member=str(world.practice.did), keys=weak), world.practice)
    assert refused == "signatures.02"


def test_appointments(world: World) -> None:
    def appoint(who: Actor, **changes: Any) -> members.Appoint:
        given: dict[str, Any] = {"practitioner": str(who.did), "roles": ["nurse"], "licensed_until": NOW + DAY_S}
        return members.Appoint(**given | changes)

    assert world.do(appoint(Actor("unknown")), world.practice) == "members.06"
    assert world.do(appoint(world.hospital), world.practice) == "members.06"
    assert world.do(appoint(world.doctor, roles=[]), world.practice) == "members.10"
    assert world.do(appoint(world.doctor, licensed_until=NOW), world.practice) == "members.08"
    suspend = members.SuspendPerson(practitioner=str(world.doctor.did), suspended=True)
    assert world.do(suspend, world.hospital) == "members.07"
    world.must(suspend, world.practice)
    assert world.do(suspend, world.practice) == "members.11"
    assert not queries.may_act(world.view, str(world.doctor.did), str(world.practice.did), NOW)
    world.must(members.Dismiss(practitioner=str(world.doctor.did)), world.practice)
    assert world.do(suspend, world.practice) == "members.07"


def test_the_brake(world: World) -> None:
    quorum = world.custodians[:2]
    on = network.Brake(scope="receipts", reason="drill", until=NOW + 60)
    assert world.do(on, world.custodians[0]) == "network.01"
    assert world.do(network.Brake(scope="all", reason="x", until=NOW + 8 * DAY_S), *quorum) == "network.03"
    assert world.do(network.Brake(scope="all", reason="x", until=NOW), *quorum) == "network.03"
    assert world.do(network.EndBrake(), *quorum) == "network.04"
    world.must(on, *quorum)
    assert network_queries.brake(world.view, NOW + 59) is not None
    assert network_queries.brake(world.view, NOW + 60) is None
    assert world.do(network.EndBrake(), world.custodians[0]) == "network.01"
    world.must(network.EndBrake(), *quorum)
    assert network_queries.brake(world.view, NOW) is None


def test_parameters_keep_to_their_ranges(world: World) -> None:
    quorum = world.custodians[:2]
    assert world.do(network.SetParams(params=network.Params()), world.custodians[0]) == "network.01"
    for name, value in {"tx_ttl_s": 1, "quota": 0, "receipt_life_s": 1, "audit_years": 2, "max_age_s": 1}.items():
        assert world.do(network.SetParams(params=network.Params(**{name: value})), *quorum) == "network.02"
    world.must(network.SetParams(params=network.Params(receipt_life_s=60)), *quorum)
    assert network_queries.params(world.view).receipt_life_s == 60


@pytest.mark.parametrize(
    "changes",
    [
        {"params": network.Params(quota=0)},
        {"authorities": network.Authorities([], 0)},
        {"authorities": network.Authorities([str(Actor("stranger").did)], 1)},
        {"authorities": network.Authorities([str(Actor("hospital").did)], 2)},
    ],
)
def test_a_genesis_that_does_not_fit_together_is_refused(world: World, changes: dict[str, Any]) -> None:
    class Empty:
        def get(self, key: bytes) -> bytes | None:  # noqa: ARG002 - there is nothing
            return None

    with pytest.raises(BadInput, match=r"contracts\.01"):
        world.app.genesis(View(Empty()), codec.encode(world.genesis(**changes)))
    assert world.genesis().chain == CHAIN
