"""A visit: a key that the practitioner signed for it, a first receipt and its renewals, twelve hours at most."""

from typing import Any

import pytest

from caremesh import codec
from caremesh.contracts.access import queries as access
from caremesh.contracts.access.messages import VISIT_DOMAIN, Close, SignedVisit, Visit
from caremesh.contracts.consent.messages import Conditions, Revoke
from caremesh.contracts.identity.messages import Deactivate, Rotate
from caremesh.contracts.members.messages import SuspendPerson
from caremesh.contracts.network.messages import Params, SetParams
from caremesh.ledger.transactions import Signer
from caremesh.types import DAY_S
from tests.support.world import CHAIN, NOW, Actor, World

HOURS_12 = 12 * 3_600


class Pass:
    """A visit key of the doctor, and the signed visit that goes with it."""

    def __init__(self, world: World, signer: Actor | None = None, domain: bytes = VISIT_DOMAIN, **changes: Any) -> None:
        self.key = Actor("visit key")
        self.key.did, self.key.signer = (
            world.doctor.did,
            Signer(key=self.key.key.public, did=world.doctor.did),
        )
        given: dict[str, Any] = {
            "chain": CHAIN,
            "practitioner": str(world.doctor.did),
            "member": str(world.practice.did),
            "key": self.key.key.public,
            "starts": NOW,
            "ends": NOW + HOURS_12,
        }
        data = codec.encode(Visit(**given | changes))
        self.visit = SignedVisit(visit=data, signature=(signer or world.doctor).key.sign(domain + data))


def by(world: World, visit: Pass, consent: bytes, /, **changes: Any) -> tuple[str, str]:
    return world.asked(consent, [visit.key, world.practice], **{"visit": visit.visit} | changes)


def last(world: World, consent: bytes) -> access.Receipt:
    entry = access.of_consent(world.view, consent)[-1]
    assert isinstance(entry, access.Receipt)
    return entry


# --- visit keys ------------------------------------------------------------------------------------


@pytest.mark.promise("P2")
def test_a_visit_key_asks_in_the_practitioners_name(world: World) -> None:
    consent, visit = world.granted(), Pass(world)
    assert by(world, visit, consent) == ("", "")
    receipt = last(world, consent)
    assert (receipt.requester, receipt.visit_key) == (world.doctor.did, visit.key.key.public)
    assert not receipt.asserted
    nurse = world.appointed("nurse", "nurse")
    both = [nurse, visit.key, world.practice]
    assert world.asked(consent, both, visit=visit.visit) == ("", "")
    world.now += HOURS_12 - 1
    assert by(world, visit, consent) == ("", "")
    assert last(world, consent).expires == NOW + HOURS_12
    world.now += 1
    assert by(world, visit, consent)[0] == "access.18"


@pytest.mark.parametrize(
    "changes",
    [
        {"chain": "other"},
        {"practitioner": str(Actor("another").did)},
        {"member": str(Actor("hospital").did)},
        {"starts": NOW + 1},
        {"ends": NOW},
        {"starts": NOW - 1},
    ],
)
def test_visits_that_let_nobody_in(world: World, changes: dict[str, Any]) -> None:
    assert by(world, Pass(world, **changes), world.granted())[0] == "access.18"


def test_who_has_signed_a_visit(world: World) -> None:
    consent = world.granted()
    assert by(world, Pass(world, Actor("another")), consent)[0] == "access.18"
    assert by(world, Pass(world, domain=b""), consent)[0] == "access.18"
    garbage = SignedVisit(visit=b"garbage", signature=bytes(64))
    assert by(world, Pass(world), consent, visit=garbage)[0] == "access.18"
    assert access.of_consent(world.view, consent) == []


def test_who_signs_with_a_visit_key(world: World) -> None:
    consent, visit = world.granted(), Pass(world)
    other_key = Pass(world, key=Actor("another").key.public)
    nobody = Pass(world)
    nobody.key.signer = Signer(key=nobody.key.key.public, did=None)
    assert by(world, other_key, consent)[0] == "access.02"
    assert by(world, nobody, consent)[0] == "access.02"
    assert world.asked(consent, [world.practice], visit=visit.visit)[0] == "access.02"
    assert world.asked(consent, [world.doctor, world.practice], visit=visit.visit)[0] == "access.02"
    assert world.asked(consent, [visit.key, world.practice])[0] == "access.02"


def test_a_visit_ends_with_the_key_that_signed_it(world: World) -> None:
    consent, visit, later = world.granted(), Pass(world), Actor("later")
    assert by(world, visit, consent) == ("", "")
    later.did, later.signer = world.doctor.did, Signer(key=later.key.public, did=world.doctor.did)
    world.must(Rotate(did=str(world.doctor.did), key=later.key.public), world.doctor, later, world.practice)
    assert by(world, visit, consent)[0] == "access.18"
    assert by(world, Pass(world, later), consent) == ("", "")
    world.must(Deactivate(did=str(world.doctor.did)), later, world.practice)
    assert by(world, Pass(world, later), consent)[0] == "access.02"


def test_a_visit_key_is_of_no_use_to_who_may_not_act(world: World) -> None:
    consent, visit = world.granted(), Pass(world)
    world.must(SuspendPerson(practitioner=str(world.doctor.did), suspended=True), world.practice)
    assert by(world, visit, consent) == ("", "access.14")


def test_nobody_asserts_with_a_visit_key(world: World) -> None:
    visit = Pass(world)
    given = {"asserted": True, "requester": str(world.practice.did)}
    assert by(world, visit, world.granted(), **given)[0] == "access.03"


# --- renewals --------------------------------------------------------------------------------------


def test_a_renewal_is_a_receipt_of_the_same_visit_and_does_not_count(world: World) -> None:
    consent = world.granted(conditions=Conditions(max_receipts=1))
    assert world.asked(consent) == ("", "")
    first = last(world, consent)
    for _ in range(3):
        world.now += 600
        assert world.asked(consent, renews=last(world, consent).id) == ("", "")
        receipt = last(world, consent)
        assert (receipt.first, receipt.began) == (first.id, NOW)
        assert (receipt.at, receipt.expires) == (world.now, world.now + 900)
    assert access.visits(world.view, consent) == 1
    assert world.asked(consent) == ("", "access.15")


def test_a_visit_is_renewed_with_its_key(world: World) -> None:
    consent, visit = world.granted(), Pass(world)
    assert by(world, visit, consent) == ("", "")
    assert by(world, visit, consent, renews=last(world, consent).id) == ("", "")
    assert last(world, consent).visit_key == visit.key.key.public


@pytest.mark.parametrize(
    "changes",
    [{"purpose": "COC"}, {"action": "copy"}, {"segments": [0]}],
)
def test_a_renewal_asks_the_same(world: World, changes: dict[str, Any]) -> None:
    world.must(world.register(), world.hospital)
    consent = world.granted(purposes=["TREAT", "COC"], actions=["read", "copy"])
    assert world.asked(consent) == ("", "")
    assert world.asked(consent, renews=last(world, consent).id, **changes) == ("", "access.19")
    assert world.asked(consent, **changes) == ("", "")


def test_a_renewal_is_the_same_persons_under_the_same_consent(world: World) -> None:
    consent, other = world.granted(), world.granted(from_=NOW // DAY_S * DAY_S - DAY_S, purposes=["COC"])
    nurse = world.appointed("nurse", "nurse")
    assert world.asked(consent) == ("", "")
    receipt = last(world, consent).id
    theirs = world.asked(consent, [nurse, world.practice], requester=str(nurse.did), renews=receipt)
    assert theirs == ("", "access.19")
    assert world.asked(other, purpose="COC", renews=receipt) == ("", "access.19")
    given = {"asserted": True, "requester": str(world.practice.did), "renews": receipt}
    assert world.asked(consent, [world.practice], **given) == ("", "access.19")
    assert world.asked(consent, renews=bytes(32)) == ("", "access.19")


def test_what_is_over_is_not_renewed(world: World) -> None:
    consent = world.granted()
    assert world.asked(consent) == ("", "")
    receipt = last(world, consent).id
    world.now += 900
    assert world.asked(consent, renews=receipt) == ("", "access.19")
    assert world.asked(consent) == ("", "")
    again = last(world, consent).id
    world.must(Close(receipt=again), world.practice)
    assert world.asked(consent, renews=again) == ("", "access.19")


@pytest.mark.promise("P3")
def test_nothing_is_renewed_after_revocation(world: World) -> None:
    consent = world.granted()
    assert world.asked(consent) == ("", "")
    world.must(Revoke(consent=consent), world.stream_key, world.practice)
    receipt = access.of_consent(world.view, consent)[0].id
    assert world.asked(consent, renews=receipt) == ("", "access.10")


def test_renewals_end_twelve_hours_after_the_visit_began(world: World) -> None:
    world.must(SetParams(params=Params(receipt_life_s=DAY_S)), *world.custodians[:2])
    consent = world.granted()
    assert world.asked(consent) == ("", "")
    assert last(world, consent).expires == NOW + HOURS_12
    world.now += HOURS_12 - 1
    assert world.asked(consent, renews=last(world, consent).id) == ("", "")
    receipt = last(world, consent)
    assert receipt.expires == NOW + HOURS_12
    world.now += 1
    assert world.asked(consent, renews=receipt.id) == ("", "access.19")


def test_each_renewal_keeps_to_the_conditions(world: World) -> None:
    consent = world.granted(conditions=Conditions(second_signature=True))
    nurse = world.appointed("nurse", "nurse")
    assert world.asked(consent, [world.doctor, nurse, world.practice]) == ("", "")
    receipt = last(world, consent).id
    assert world.asked(consent, renews=receipt) == ("", "access.20")
    assert world.asked(consent, [world.doctor, nurse, world.practice], renews=receipt) == ("", "")
